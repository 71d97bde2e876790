import { describe, expect, it } from 'vitest';
import { checkPassword, isStrong, isTaken } from './person';

describe('a password', () => {
  it('is strong with twelve characters of three classes, and not with fewer', () => {
    const cases: [string, boolean][] = [
      ['Abcdefghij1-', true],
      ['Abcdefghij1', false],
      ['abcdefghijk1', false],
      ['密码密码密码密码密码Aa1', true],
      ['', false],
    ];
    for (const [password, strong] of cases) expect(isStrong(checkPassword(password, 'wang')), password).toBe(strong);
  });

  it('does not contain the name', () => {
    expect(checkPassword('XX-Wang-2026-yy', 'wang').isNotTheName).toBe(false);
  });
});

describe('a name', () => {
  it('is taken whatever its case', () => {
    expect(isTaken('Wang', ['wang'])).toBe(true);
    expect(isTaken('wang2', ['wang'])).toBe(false);
  });
});
