/** Calls to the gateway: one place for headers, language, errors and the end of a session. */

import { currentLanguage } from '../words/language';
import { api } from '../paths';
import { consoleCodes, Fault, readFault } from './fault';
import type { ModelFacts, Session, SetUp, SetUpDone, SetUpState, SignIn, Status } from './types';

/** Answer of a call, with the box's clock as its `Date` header told it. */
export interface Answered<T> {
  body: T;
  boxTime: Date | undefined;
}

type Method = 'GET' | 'POST' | 'DELETE';

const sessionEnded = new Set<() => void>();

/** Told when the gateway no longer knows the session. */
export function onSessionEnded(listener: () => void): () => void {
  sessionEnded.add(listener);
  return () => sessionEnded.delete(listener);
}

export const readSession = (signal?: AbortSignal) => callJson<Session>('GET', api.session, undefined, signal);
export const readSetUp = (signal?: AbortSignal) => callJson<SetUpState>('GET', api.setup, undefined, signal);
export const readStatus = (signal?: AbortSignal) => callJson<Status>('GET', api.status, undefined, signal);
export const readModels = (signal?: AbortSignal) => callJson<{ data: ModelFacts[] }>('GET', api.models, undefined, signal);
export const postSession = (body: SignIn) => callJson<Session>('POST', api.session, body);
export const postSetUp = (body: SetUp) => callJson<SetUpDone>('POST', api.setup, body);

export async function deleteSession(): Promise<void> {
  await call('DELETE', api.session);
}

/** Opens the stream of an answer. The caller reads the body and stops it through `signal`. */
export async function openChat(body: object, signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
  const response = await call('POST', api.chat, body, signal, 'text/event-stream');
  if (response.body === null) throw new Fault(consoleCodes.unreadable, response.status);
  return response.body;
}

async function callJson<T>(method: Method, path: string, body?: object, signal?: AbortSignal): Promise<Answered<T>> {
  const response = await call(method, path, body, signal);
  const date = response.headers.get('date');
  try {
    return { body: (await response.json()) as T, boxTime: date === null ? undefined : new Date(date) };
  } catch {
    throw new Fault(consoleCodes.unreadable, response.status);
  }
}

async function call(method: Method, path: string, body?: object, signal?: AbortSignal, accept = 'application/json'): Promise<Response> {
  const headers: Record<string, string> = { accept, 'accept-language': currentLanguage() };
  if (method !== 'GET') headers['x-jingui-console'] = '1';
  if (body !== undefined) headers['content-type'] = 'application/json';
  const response = await fetch(path, {
    method,
    headers,
    credentials: 'same-origin',
    cache: 'no-store',
    redirect: 'error',
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    ...(signal === undefined ? {} : { signal }),
  });
  if (response.ok) return response;
  const fault = readFault(await response.json().catch(() => undefined), response.status);
  // A refused sign-in is an answer to the person; any other 401 means that the session is over.
  if (response.status === 401 && path !== api.session && path !== api.setup) sessionEnded.forEach((listener) => listener());
  throw fault;
}
