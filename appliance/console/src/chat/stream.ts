/** From the bytes of an answer's stream to its chunks. What is no chunk of the contract ends it with a fault. */

import { EventParser } from '../api/sse';
import { consoleCodes, Fault, readFault } from '../api/fault';
import type { ChatChunk } from '../api/types';

/** Calls `onChunk` for each chunk until the stream says that it is complete, and `onAhead` while the request waits in the queue. */
export async function readChunks(
  stream: ReadableStream<Uint8Array>,
  onChunk: (chunk: ChatChunk) => void,
  onAhead: (count: number) => void = () => undefined,
): Promise<void> {
  const reader = stream.getReader();
  const parser = new EventParser((comment) => {
    const count = aheadOf(comment);
    if (count !== undefined) onAhead(count);
  });
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) throw new Fault(consoleCodes.cutOff, 200);
      for (const event of parser.push(value)) {
        if (event.data === '[DONE]') return;
        onChunk(readChunk(event.data));
      }
    }
  } finally {
    reader.cancel().catch(() => undefined);
  }
}

/** How many are served before, from the comment that tells a waiting stream its place: `queued ahead=3 estimate_ms=4500`. */
export function aheadOf(comment: string): number | undefined {
  const digits = /^queued ahead=(\d{1,6})(?: |$)/.exec(comment)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

export function readChunk(text: string): ChatChunk {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Fault(consoleCodes.unreadable, 200);
  }
  if (typeof value !== 'object' || value === null) throw new Fault(consoleCodes.unreadable, 200);
  if ('error' in value || 'code' in value) throw readFault(value, 200);
  if (!('choices' in value) || !Array.isArray(value.choices)) throw new Fault(consoleCodes.unreadable, 200);
  return value as ChatChunk;
}
