/** One answer of the model, folded from the chunks of its stream. Pure: time is an argument. */

import type { ChatChunk, Usage } from '../api/types';
import type { Fault } from '../api/fault';

export type Phase = 'waiting' | 'thinking' | 'answering' | 'done' | 'stopped' | 'failed';

export interface ToolCall {
  id: string;
  name: string;
  /** JSON text, complete only when the answer is. */
  arguments: string;
}

export interface Answer {
  phase: Phase;
  /** How many are served before it, while it waits in the queue. */
  ahead: number | undefined;
  reasoning: string;
  content: string;
  toolCalls: readonly ToolCall[];
  /** Why the model ended: `stop`, `length`, `tool_calls`. */
  finish: string | undefined;
  usage: Usage | undefined;
  produceId: string | undefined;
  fault: Fault | undefined;
  /** Milliseconds of a monotonic clock. */
  startedAt: number;
  firstTokenAt: number | undefined;
  thoughtUntil: number | undefined;
  endedAt: number | undefined;
}

/** Most tool calls of one answer that are shown; an index beyond it is a broken peer. */
export const TOOL_CALLS_MAX = 64;

export function begin(now: number): Answer {
  return {
    phase: 'waiting',
    ahead: undefined,
    reasoning: '',
    content: '',
    toolCalls: [],
    finish: undefined,
    usage: undefined,
    produceId: undefined,
    fault: undefined,
    startedAt: now,
    firstTokenAt: undefined,
    thoughtUntil: undefined,
    endedAt: undefined,
  };
}

/** Adds what a chunk brings. Thinking comes before the answer; the first piece of the answer ends it. */
export function fold(answer: Answer, chunk: ChatChunk, now: number): Answer {
  const next = { ...answer };
  if (chunk.usage) next.usage = chunk.usage;
  if (chunk.produce_id) next.produceId = chunk.produce_id;
  const choice = chunk.choices[0];
  if (choice === undefined) return next;
  if (choice.finish_reason) next.finish = choice.finish_reason;

  const reasoning = choice.delta.reasoning_content ?? '';
  const content = choice.delta.content ?? '';
  const calls = choice.delta.tool_calls ?? [];
  if (reasoning === '' && content === '' && calls.length === 0) return next;

  next.firstTokenAt ??= now;
  next.reasoning += reasoning;
  next.content += content;
  for (const call of calls) next.toolCalls = foldCall(next.toolCalls, call);
  const answers = content !== '' || calls.length > 0;
  if (answers && next.reasoning !== '') next.thoughtUntil ??= now;
  next.phase = answers || next.phase === 'answering' ? 'answering' : 'thinking';
  return next;
}

/** The request waits in the queue, so many before it. */
export function wait(answer: Answer, ahead: number): Answer {
  return answer.phase === 'waiting' ? { ...answer, ahead } : answer;
}

export function finish(answer: Answer, now: number): Answer {
  return { ...close(answer, now), phase: 'done' };
}

/** The person stopped it: what came so far stays. */
export function stop(answer: Answer, now: number): Answer {
  return { ...close(answer, now), phase: 'stopped' };
}

export function fail(answer: Answer, fault: Fault, now: number): Answer {
  return { ...close(answer, now), phase: 'failed', fault };
}

export function isRunning(answer: Answer): boolean {
  return answer.endedAt === undefined;
}

function close(answer: Answer, now: number): Answer {
  return { ...answer, endedAt: now, thoughtUntil: answer.reasoning === '' ? undefined : (answer.thoughtUntil ?? now) };
}

type CallPiece = NonNullable<ChatChunk['choices'][number]['delta']['tool_calls']>[number];

function foldCall(calls: readonly ToolCall[], piece: CallPiece): readonly ToolCall[] {
  const index = piece.index ?? calls.length;
  if (index > calls.length || index >= TOOL_CALLS_MAX) return calls;
  const old = calls[index] ?? { id: '', name: '', arguments: '' };
  const grown: ToolCall = {
    id: old.id === '' ? (piece.id ?? '') : old.id,
    name: old.name === '' ? (piece.function.name ?? '') : old.name,
    arguments: old.arguments + (piece.function.arguments ?? ''),
  };
  return [...calls.slice(0, index), grown, ...calls.slice(index + 1)];
}
