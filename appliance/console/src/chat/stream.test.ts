import { describe, expect, it } from 'vitest';
import { consoleCodes } from '../api/fault';
import { aheadOf, readChunk, readChunks } from './stream';

const CHUNK = '{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}';

function streamOf(text: string): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      controller.enqueue(new TextEncoder().encode(text));
      controller.close();
    },
  });
}

async function read(text: string): Promise<number> {
  let count = 0;
  await readChunks(streamOf(text), () => {
    count += 1;
  });
  return count;
}

describe('the stream of an answer', () => {
  it('is complete only when it says so', async () => {
    await expect(read(`data: ${CHUNK}\n\ndata: [DONE]\n\n`)).resolves.toBe(1);
    await expect(read(`data: ${CHUNK}\n\n`)).rejects.toMatchObject({ code: consoleCodes.cutOff });
  });

  it('ends with the fault that the box sends in the middle', async () => {
    const error = '{"error":{"message":"The engine ended.","type":"server_error","param":null,"code":"engine.crashed"}}';
    await expect(read(`data: ${CHUNK}\n\ndata: ${error}\n\n`)).rejects.toMatchObject({ code: 'engine.crashed', words: { what: 'The engine ended.' } });
  });

  it('tells a request that waits how many are before it', async () => {
    const places: number[] = [];
    const text = `: queued ahead=3 estimate_ms=4500\n\n: keep-alive\n\n: queued ahead=0 estimate_ms=10\n\ndata: ${CHUNK}\n\ndata: [DONE]\n\n`;
    await readChunks(streamOf(text), () => undefined, (count) => places.push(count));
    expect(places).toEqual([3, 0]);
    for (const other of ['', 'keep-alive', 'queued', 'queued ahead=-1', 'queued ahead=x', 'queued ahead=12345678']) expect(aheadOf(other), other).toBeUndefined();
  });

  it('refuses what is no chunk', () => {
    for (const text of ['', '{', 'null', '[]', '{}', '{"choices":7}']) expect(() => readChunk(text), text).toThrow(consoleCodes.unreadable);
  });
});
