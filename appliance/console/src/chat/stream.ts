/** From the bytes of an answer's stream to its chunks. What is no chunk of the contract ends it with a fault. */

import { EventParser } from '../api/sse';
import { consoleCodes, Fault, readFault } from '../api/fault';
import type { ChatChunk } from '../api/types';

/** Calls `onChunk` for each chunk until the stream says that it is complete. */
export async function readChunks(stream: ReadableStream<Uint8Array>, onChunk: (chunk: ChatChunk) => void): Promise<void> {
  const reader = stream.getReader();
  const parser = new EventParser();
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
