import { describe, expect, it } from 'vitest';
import { checkCode, codeAt, fromBase32, groupSecret, makeSecret, otpauthUri, SEARCH_STEPS, stepAt, toBase32 } from './totp';

/** The secret of RFC 6238, appendix B: the ASCII digits 12345678901234567890. */
const RFC_SECRET = 'GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ';

describe('one-time codes', () => {
  it('are those of RFC 6238, appendix B', async () => {
    const cases: [number, string][] = [
      [59, '287082'],
      [1_111_111_109, '081804'],
      [1_111_111_111, '050471'],
      [1_234_567_890, '005924'],
      [2_000_000_000, '279037'],
      [20_000_000_000, '353130'],
    ];
    for (const [seconds, code] of cases) expect(await codeAt(RFC_SECRET, stepAt(new Date(seconds * 1000)))).toBe(code);
  });

  it('are right one step either side, and not two', async () => {
    const at = new Date(1_234_567_890_000);
    const kind = async (step: number) => (await checkCode(RFC_SECRET, await codeAt(RFC_SECRET, stepAt(at) + step), at)).kind;
    expect([await kind(-1), await kind(0), await kind(1)]).toEqual(['right', 'right', 'right']);
    expect([await kind(-2), await kind(2)]).toEqual(['clock', 'clock']);
  });

  it('tell by how much a clock is off, up to the limit', async () => {
    const at = new Date(1_234_567_890_000);
    const check = async (step: number) => checkCode(RFC_SECRET, await codeAt(RFC_SECRET, stepAt(at) + step), at);
    expect(await check(-8)).toEqual({ kind: 'clock', offsetSeconds: -240 });
    expect((await check(SEARCH_STEPS)).kind).toBe('clock');
    expect((await check(SEARCH_STEPS + 1)).kind).toBe('wrong');
  });
});

describe('a secret', () => {
  it('goes to base32 and back', () => {
    for (let length = 0; length < 24; length += 1) {
      const bytes = Uint8Array.from({ length }, (_, index) => (index * 97 + length) & 255);
      expect(fromBase32(toBase32(bytes))).toEqual(bytes);
    }
    expect(() => fromBase32('0189')).toThrow(RangeError);
  });

  it('has 160 bits and is new each time', () => {
    expect(fromBase32(makeSecret())).toHaveLength(20);
    expect(makeSecret()).not.toBe(makeSecret());
  });

  it('is shown in groups and as an address for authenticators', () => {
    expect(groupSecret('ABCDEFGHIJ')).toBe('ABCD EFGH IJ');
    expect(otpauthUri('李 明', 'ABC')).toBe('otpauth://totp/Jingui%3A%E6%9D%8E%20%E6%98%8E?secret=ABC&issuer=Jingui&algorithm=SHA1&digits=6&period=30');
  });
});
