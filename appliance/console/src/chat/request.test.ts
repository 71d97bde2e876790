import { describe, expect, it } from 'vitest';
import { begin, finish, type Answer } from './answer';
import { buildRequest, parseTools, type Settings } from './request';

const SETTINGS: Settings = { model: 'canary', thinks: false, freedom: 'strict', system: '', tools: '' };

function answered(change: Partial<Answer>): Answer {
  return finish({ ...begin(0), ...change }, 1);
}

describe('a chat request', () => {
  it('asks for a greedy stream with usage, and says whether to think', () => {
    expect(buildRequest(SETTINGS, [], 'Hi')).toEqual({
      model: 'canary',
      messages: [{ role: 'user', content: 'Hi' }],
      stream: true,
      stream_options: { include_usage: true },
      temperature: 0,
      chat_template_kwargs: { enable_thinking: false },
    });
  });

  it('carries the conversation without its thinking', () => {
    const turns = [{ id: 1, question: 'Code?', answer: answered({ reasoning: 'secret', content: '7155' }) }];
    const { messages } = buildRequest({ ...SETTINGS, system: 'Be brief.' }, turns, 'And?');
    expect(messages.map((message) => [message.role, message.content])).toEqual([
      ['system', 'Be brief.'],
      ['user', 'Code?'],
      ['assistant', '7155'],
      ['user', 'And?'],
    ]);
    expect(JSON.stringify(messages)).not.toContain('secret');
  });

  it('leaves out an answer that never came', () => {
    const { messages } = buildRequest(SETTINGS, [{ id: 1, question: 'a', answer: answered({}) }], 'b');
    expect(messages.map((message) => message.role)).toEqual(['user', 'user']);
  });

  it('sends tool calls back as they came', () => {
    const toolCalls = [{ id: 'call_0', name: 'calc_sum', arguments: '{"first":1}' }];
    const { messages } = buildRequest(SETTINGS, [{ id: 1, question: 'a', answer: answered({ toolCalls }) }], 'b');
    expect(messages[1]?.tool_calls).toEqual([{ id: 'call_0', type: 'function', function: { name: 'calc_sum', arguments: '{"first":1}' } }]);
  });

  it('sends tools only when they are a list of objects', () => {
    expect(parseTools('')).toEqual([]);
    expect(parseTools('[{"type":"function"}]')).toEqual([{ type: 'function' }]);
    for (const text of ['{', '{}', '[1]', '[null]']) expect(parseTools(text), text).toBeUndefined();
    expect(buildRequest({ ...SETTINGS, tools: '{' }, [], 'a')).not.toHaveProperty('tools');
  });
});
