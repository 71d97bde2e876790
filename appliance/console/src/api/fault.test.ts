import { describe, expect, it } from 'vitest';
import { asFault, consoleCodes, Fault, readFault } from './fault';

describe('a fault', () => {
  it('is read from a problem of the console API', () => {
    const fault = readFault({ title: 'What', detail: 'Why', remedy: 'Do', code: 'auth.code.replayed', status: 401 }, 401);
    expect(fault).toMatchObject({ code: 'auth.code.replayed', status: 401, words: { what: 'What', why: 'Why', remedy: 'Do' } });
  });

  it('is read from the error object of the chat', () => {
    const fault = readFault({ error: { message: 'Too long', type: 'invalid_request_error', param: null, code: 'context_length_exceeded' } }, 400);
    expect(fault).toMatchObject({ code: 'context_length_exceeded', words: { what: 'Too long' } });
  });

  it('has a code even when the body says nothing', () => {
    for (const body of [undefined, null, 'text', 7, [], {}, { error: null }]) {
      expect(readFault(body, 502)).toMatchObject({ code: 'http.502', words: undefined });
    }
  });

  it('that is none of ours means that the box was not reached', () => {
    expect(asFault(new TypeError('Failed to fetch')).code).toBe(consoleCodes.unreachable);
    const fault = new Fault('engine.crashed', 503);
    expect(asFault(fault)).toBe(fault);
  });
});
