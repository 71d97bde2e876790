import { describe, expect, it } from 'vitest';
import { argumentRows, sentenceEnd, splitFences } from './text';

describe('model output', () => {
  it('is split at fences, and nothing of it is lost', () => {
    expect(splitFences('before\n```python\nprint(1)\n\nprint(2)\n```\nafter')).toEqual([
      { kind: 'text', language: '', text: 'before' },
      { kind: 'code', language: 'python', text: 'print(1)\n\nprint(2)' },
      { kind: 'text', language: '', text: 'after' },
    ]);
  });

  it('shows a block that is still being written as code', () => {
    expect(splitFences('```rust\nfn main() {')).toEqual([{ kind: 'code', language: 'rust', text: 'fn main() {' }]);
  });

  it('ends a block only by a fence that is long enough and bare', () => {
    expect(splitFences('````\n```\nstill\n``` no\n````')).toEqual([{ kind: 'code', language: '', text: '```\nstill\n``` no' }]);
  });

  it('keeps markup as the text it is', () => {
    const text = '<script>alert(1)</script> **bold** [link](https://example.com)';
    expect(splitFences(text)).toEqual([{ kind: 'text', language: '', text }]);
  });

  it('drops the empty lines round a text, not those inside', () => {
    expect(splitFences('\n\na\n\nb\n')).toEqual([{ kind: 'text', language: '', text: 'a\n\nb' }]);
    expect(splitFences('\n')).toEqual([]);
  });
});

describe('a growing text', () => {
  it('is told up to the last whole sentence', () => {
    expect(sentenceEnd('One. Two. Thr', 0)).toBe('One. Two.'.length);
    expect(sentenceEnd('第一句。第二句！第三', 0)).toBe('第一句。第二句！'.length);
    expect(sentenceEnd('no end yet', 0)).toBe(0);
  });

  it('does not take a point inside a number for an end', () => {
    expect(sentenceEnd('It is 3.14 metres', 0)).toBe(0);
  });

  it('goes on from where it was', () => {
    const text = 'One. Two. ';
    expect(sentenceEnd(text, 4)).toBe('One. Two.'.length);
    expect(sentenceEnd(text, text.length)).toBe(text.length);
  });
});

describe('arguments of a tool call', () => {
  it('are rows of names and values', () => {
    expect(argumentRows('{"city":"Ulan","days":2,"exact":true}')).toEqual([
      { name: 'city', value: 'Ulan' },
      { name: 'days', value: '2' },
      { name: 'exact', value: 'true' },
    ]);
  });

  it('are shown as they are while they are no object', () => {
    expect(argumentRows('{"city":"Ul')).toEqual([{ name: '', value: '{"city":"Ul' }]);
    expect(argumentRows('[1]')).toEqual([{ name: '', value: '[1]' }]);
    expect(argumentRows('')).toEqual([]);
  });
});
