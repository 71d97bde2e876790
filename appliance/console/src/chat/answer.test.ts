import { describe, expect, it } from 'vitest';
import type { ChatChunk, Delta } from '../api/types';
import { Fault } from '../api/fault';
import { begin, fail, finish, fold, isRunning, stop, TOOL_CALLS_MAX, type Answer } from './answer';

function chunk(delta: Delta, more: Partial<ChatChunk> = {}, finishReason: string | null = null): ChatChunk {
  return { id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{ index: 0, delta, finish_reason: finishReason }], ...more };
}

function foldAll(chunks: readonly ChatChunk[]): Answer {
  return chunks.reduce((answer, one, index) => fold(answer, one, 100 + index), begin(100));
}

describe('an answer', () => {
  it('waits until something was said', () => {
    const answer = foldAll([chunk({ role: 'assistant' }), chunk({ content: '' })]);
    expect(answer.phase).toBe('waiting');
    expect(answer.firstTokenAt).toBeUndefined();
  });

  it('keeps thinking apart from what is answered, and notes when thinking ended', () => {
    const answer = foldAll([chunk({ reasoning_content: 'It is ' }), chunk({ reasoning_content: '7155.' }), chunk({ content: '71' }), chunk({ content: '55' })]);
    expect(answer).toMatchObject({ phase: 'answering', reasoning: 'It is 7155.', content: '7155', firstTokenAt: 100, thoughtUntil: 102 });
  });

  it('is the same text however its pieces are cut', () => {
    const text = 'Only the auditor may read the audit log. 只有安全审计员。';
    const pieces = (size: number) => Array.from({ length: Math.ceil(text.length / size) }, (_, index) => chunk({ content: text.slice(index * size, (index + 1) * size) }));
    for (const size of [1, 2, 3, 7, 100]) expect(foldAll(pieces(size)).content).toBe(text);
  });

  it('gathers each tool call from its pieces', () => {
    const answer = foldAll([
      chunk({ tool_calls: [{ index: 0, id: 'call_0', type: 'function', function: { name: 'calc_sum', arguments: '{"first"' } }] }),
      chunk({ tool_calls: [{ index: 0, function: { arguments: ': 502}' } }] }),
      chunk({ tool_calls: [{ index: 1, id: 'call_1', type: 'function', function: { name: 'get_weather', arguments: '{}' } }] }),
      chunk({}, {}, 'tool_calls'),
    ]);
    expect(answer.toolCalls).toEqual([
      { id: 'call_0', name: 'calc_sum', arguments: '{"first": 502}' },
      { id: 'call_1', name: 'get_weather', arguments: '{}' },
    ]);
    expect(answer.finish).toBe('tool_calls');
  });

  it('does not grow a list of tool calls past its limit or leave a hole in it', () => {
    const call = (index: number) => chunk({ tool_calls: [{ index, function: { name: 'f', arguments: '' } }] });
    expect(foldAll([call(5)]).toolCalls).toEqual([]);
    const many = Array.from({ length: TOOL_CALLS_MAX + 1 }, (_, index) => call(index));
    expect(foldAll(many).toolCalls).toHaveLength(TOOL_CALLS_MAX);
  });

  it('takes usage and ProduceID whether or not choices come with them', () => {
    const usage = { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 };
    const answer = foldAll([chunk({ content: 'a' }), chunk({}, { produce_id: 'SN-7' }, 'stop'), { ...chunk({}), choices: [], usage }]);
    expect(answer).toMatchObject({ usage, produceId: 'SN-7', finish: 'stop' });
  });

  it('keeps what came when it is stopped or fails', () => {
    const answer = foldAll([chunk({ reasoning_content: 'hm' })]);
    expect(stop(answer, 200)).toMatchObject({ phase: 'stopped', reasoning: 'hm', endedAt: 200, thoughtUntil: 200 });
    const fault = new Fault('engine.crashed', 503);
    expect(fail(answer, fault, 201)).toMatchObject({ phase: 'failed', reasoning: 'hm', fault });
  });

  it('runs until it has ended', () => {
    expect(isRunning(begin(0))).toBe(true);
    expect(isRunning(finish(begin(0), 1))).toBe(false);
  });
});
