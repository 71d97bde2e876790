/** The gateway's types by the names the console uses. They are generated; nothing is declared twice. */

import type { components } from './schema';

type Schemas = components['schemas'];

export type Role = Schemas['Role'];
export type AdminRole = Exclude<Role, 'user'>;
export type Session = Schemas['Session'];
export type SignIn = Schemas['SignIn'];
export type SetUpState = Schemas['SetUpState'];
export type NewAccount = Schemas['NewAccount'];
export type NewUser = Schemas['NewUser'];
export type SetUp = Schemas['SetUp'];
export type SetUpDone = Schemas['SetUpDone'];
export type Health = Schemas['Health'];
export type Process = Schemas['Process'];
export type Guarantee = Schemas['Guarantee'];
export type AuditState = Schemas['AuditState'];
export type ModelFacts = Schemas['ModelFacts'];
export type Status = Schemas['Status'];
export type ChatRequest = Schemas['ChatRequest'];
export type ChatMessage = Schemas['ChatMessage'];
export type ChatChunk = Schemas['ChatChunk'];
export type Delta = Schemas['Delta'];
export type Usage = Schemas['Usage'];
