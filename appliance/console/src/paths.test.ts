import { describe, expect, it } from 'vitest';
import { afterSignIn, pages, signInThen } from './paths';

describe('sign-in', () => {
  it('leads back to the page the person was on', () => {
    expect(afterSignIn(new URL(signInThen(pages.status), 'https://box').search)).toBe(pages.status);
  });

  it('never leads anywhere else', () => {
    for (const next of ['https://evil.example', '//evil.example', '/signin', '/setup', '/api/status', '/chat/../x', 'javascript:x', '']) {
      expect(afterSignIn(`?next=${encodeURIComponent(next)}`), next).toBe(pages.chat);
    }
    expect(afterSignIn('')).toBe(pages.chat);
  });
});
