/** Who is signed in, as the gateway last said. The cookie itself is out of the page's reach. */

import { useSyncExternalStore } from 'react';
import { deleteSession, onSessionEnded, postSession, readSession, readSetUp } from './api/client';
import { asFault, type Fault } from './api/fault';
import type { Session, SignIn } from './api/types';
import { belongTo } from './chat/store';

export type SessionState =
  | { kind: 'unknown' }
  | { kind: 'not-set-up' }
  | { kind: 'out'; hasExpired: boolean }
  | { kind: 'in'; session: Session }
  | { kind: 'unreachable'; fault: Fault };

let state: SessionState = { kind: 'unknown' };
const listeners = new Set<() => void>();

/** Asks the gateway who we are. */
export async function loadSession(): Promise<void> {
  try {
    const setUp = await readSetUp();
    if (!setUp.body.is_set_up) return change({ kind: 'not-set-up' });
    const { body } = await readSession();
    enter(body);
  } catch (error) {
    const fault = asFault(error);
    change(fault.status === 401 ? { kind: 'out', hasExpired: false } : { kind: 'unreachable', fault });
  }
}

export async function signIn(proof: SignIn): Promise<void> {
  enter((await postSession(proof)).body);
}

export async function signOut(): Promise<void> {
  await deleteSession().catch(() => undefined);
  change({ kind: 'out', hasExpired: false });
}

/** After the ceremony: there are accounts now, and nobody is signed in. */
export function becomeSetUp(): void {
  change({ kind: 'out', hasExpired: false });
}

export function useSession(): SessionState {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => state,
  );
}

onSessionEnded(() => {
  if (state.kind === 'in') change({ kind: 'out', hasExpired: true });
});

function enter(session: Session): void {
  belongTo(session.username);
  change({ kind: 'in', session });
}

function change(next: SessionState): void {
  state = next;
  listeners.forEach((listener) => listener());
}
