import { describe, expect, it } from 'vitest';
import { EVENT_CHARS_MAX, EventParser, type StreamEvent } from './sse';

const encoder = new TextEncoder();

function parseAt(bytes: Uint8Array, ...cuts: number[]): StreamEvent[] {
  const parser = new EventParser();
  const ends = [...cuts, bytes.length];
  return ends.flatMap((end, index) => parser.push(bytes.subarray(index === 0 ? 0 : ends[index - 1], end)));
}

const STREAM = [
  ': keep-alive\n\n',
  'data: {"text":"金匮 📦 é"}\n\n',
  'event: note\r\ndata:no space\r\n\r\n',
  'data: two\ndata: lines\n\n',
  'data: with return\r\r',
  'id: 7\nretry: 10\ndata\n\n',
  'data: [DONE]\n\n',
].join('');

const EXPECTED: StreamEvent[] = [
  { event: '', data: '{"text":"金匮 📦 é"}' },
  { event: 'note', data: 'no space' },
  { event: '', data: 'two\nlines' },
  { event: '', data: 'with return' },
  { event: '', data: '' },
  { event: '', data: '[DONE]' },
];

describe('the parser of server-sent events', () => {
  it('gives the same events wherever the stream is cut once', () => {
    const bytes = encoder.encode(STREAM);
    for (let cut = 0; cut <= bytes.length; cut += 1) expect(parseAt(bytes, cut), `cut at ${cut}`).toEqual(EXPECTED);
  });

  it('gives the same events when every byte comes alone', () => {
    const bytes = encoder.encode(STREAM);
    expect(parseAt(bytes, ...Array.from(bytes, (_, index) => index))).toEqual(EXPECTED);
  });

  it('gives the same events wherever the stream is cut twice', () => {
    const bytes = encoder.encode(STREAM);
    for (let first = 0; first <= bytes.length; first += 7) {
      for (let second = first; second <= bytes.length; second += 5) expect(parseAt(bytes, first, second)).toEqual(EXPECTED);
    }
  });

  it('hands comments to whoever asked for them, wherever they are cut', () => {
    const bytes = encoder.encode(': queued ahead=3\n\ndata: x\n:keep-alive\n\n');
    for (let cut = 0; cut <= bytes.length; cut += 1) {
      const comments: string[] = [];
      const parser = new EventParser((text) => comments.push(text));
      const events = [...parser.push(bytes.subarray(0, cut)), ...parser.push(bytes.subarray(cut))];
      expect(comments).toEqual(['queued ahead=3', 'keep-alive']);
      expect(events).toEqual([{ event: '', data: 'x' }]);
    }
  });

  it('gives no event that was not ended by an empty line', () => {
    expect(parseAt(encoder.encode('data: cut off'))).toEqual([]);
    expect(parseAt(encoder.encode('data: cut off\n'))).toEqual([]);
  });

  it('takes an event at the limit and refuses one past it', () => {
    const field = 'data: ';
    const atLimit = encoder.encode(`${field}${'x'.repeat(EVENT_CHARS_MAX - field.length)}\n\n`);
    expect(parseAt(atLimit)).toHaveLength(1);
    const pastLimit = encoder.encode(`${field}${'x'.repeat(EVENT_CHARS_MAX - field.length + 1)}\n\n`);
    expect(() => parseAt(pastLimit)).toThrow(RangeError);
  });

  it('does not tire of keep-alive comments', () => {
    const parser = new EventParser();
    const comment = encoder.encode(`: ${'k'.repeat(EVENT_CHARS_MAX / 4)}\n`);
    for (let index = 0; index < 8; index += 1) expect(parser.push(comment)).toEqual([]);
    expect(parser.push(encoder.encode('data: on\n\n'))).toEqual([{ event: '', data: 'on' }]);
  });
});
