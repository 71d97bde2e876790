/**
 * The conversation on this page. It lives in memory only: nothing of it is stored on the computer, it survives a
 * change of page and a new sign-in of the same person, and it is gone with the tab.
 */

import { openChat } from '../api/client';
import { asFault } from '../api/fault';
import { begin, fail, finish, fold, stop, wait, type Answer } from './answer';
import { buildRequest, type Settings, type Turn } from './request';
import { readChunks } from './stream';

export interface Conversation {
  turns: readonly Turn[];
  settings: Settings;
  isRunning: boolean;
}

const FRESH: Conversation = {
  turns: [],
  settings: { model: '', thinks: false, freedom: 'strict', system: '', tools: '' },
  isRunning: false,
};

let conversation = FRESH;
let owner: string | undefined;
let nextId = 1;
let running: AbortController | undefined;
let frame: number | undefined;
const listeners = new Set<() => void>();

export function currentConversation(): Conversation {
  return conversation;
}

export function onConversation(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Whose conversation it is. Another person who signs in on this page finds none. */
export function belongTo(username: string): void {
  if (owner !== undefined && owner !== username) {
    running?.abort();
    conversation = FRESH;
    publish();
  }
  owner = username;
}

export function changeSettings(change: Partial<Settings>): void {
  conversation = { ...conversation, settings: { ...conversation.settings, ...change } };
  publish();
}

export function startAnew(): void {
  running?.abort();
  conversation = { ...conversation, turns: [], isRunning: false };
  publish();
}

export function stopAnswer(): void {
  running?.abort();
}

/** Asks again for the answer to the last question. */
export function regenerate(): void {
  const last = conversation.turns[conversation.turns.length - 1];
  if (last === undefined || conversation.isRunning) return;
  conversation = { ...conversation, turns: conversation.turns.slice(0, -1) };
  void ask(last.question);
}

/** Asks, and folds the answer into the conversation while it streams. Ends when the answer has. */
export async function ask(question: string): Promise<void> {
  if (conversation.isRunning) return;
  const control = new AbortController();
  running = control;
  const request = buildRequest(conversation.settings, conversation.turns, question);
  const id = nextId;
  nextId += 1;
  let answer = begin(performance.now());
  conversation = { ...conversation, turns: [...conversation.turns, { id, question, answer }], isRunning: true };
  publish();
  const change = (next: Answer) => {
    answer = next;
    put(id, answer);
  };
  try {
    const stream = await openChat(request, control.signal);
    await readChunks(
      stream,
      (chunk) => change(fold(answer, chunk, performance.now())),
      (ahead) => change(wait(answer, ahead)),
    );
    change(finish(answer, performance.now()));
  } catch (error) {
    const now = performance.now();
    change(control.signal.aborted ? stop(answer, now) : fail(answer, asFault(error), now));
  }
  if (running === control) {
    running = undefined;
    conversation = { ...conversation, isRunning: false };
  }
  publish();
}

function put(id: number, answer: Answer): void {
  const turns = conversation.turns.map((turn) => (turn.id === id ? { ...turn, answer } : turn));
  conversation = { ...conversation, turns };
  // Tokens come faster than the screen draws: one drawing per frame.
  frame ??= requestAnimationFrame(publish);
}

function publish(): void {
  if (frame !== undefined) cancelAnimationFrame(frame);
  frame = undefined;
  listeners.forEach((listener) => listener());
}
