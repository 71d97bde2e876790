import { describe, expect, it } from 'vitest';
import { bytes, count, dateTime, decimal, durationParts, parameters, shortDigest } from './format';

describe('a number', () => {
  it('of bytes has a binary unit and three digits', () => {
    const cases: [number, string][] = [
      [0, '0 B'],
      [1023, '1,023 B'],
      [1024, '1.00 KiB'],
      [8_512_608, '8.12 MiB'],
      [11 * 1024 ** 3, '11.0 GiB'],
      [500 * 1024 ** 4, '500 TiB'],
      [5000 * 1024 ** 4, '5,000 TiB'],
    ];
    for (const [value, text] of cases) expect(bytes('en', value)).toBe(text);
  });

  it('of parameters is counted in millions and billions', () => {
    expect(parameters('en', 3_114_752)).toBe('3.11 M');
    expect(parameters('en', 9_400_079_360)).toBe('9.4 B');
    expect(parameters('en', 355e9)).toBe('355 B');
    expect(parameters('en', 12)).toBe('12');
  });

  it('is grouped, and has the digits that are asked for', () => {
    expect(count('zh-CN', 1_234_567)).toBe('1,234,567');
    expect(decimal('en', 0.126, 2)).toBe('0.13');
  });
});

describe('a time', () => {
  it('is cut into whole parts', () => {
    expect(durationParts(90_061_500)).toEqual({ days: 1, hours: 1, minutes: 1, seconds: 1 });
    expect(durationParts(-5)).toEqual({ days: 0, hours: 0, minutes: 0, seconds: 0 });
  });

  it('names its zone', () => {
    const at = new Date('2026-11-24T11:58:03Z');
    expect(dateTime('zh-CN', at, 'Asia/Shanghai')).toMatch(/2026\/11\/24.*19:58:03/);
    expect(dateTime('en', at, 'Asia/Shanghai')).toMatch(/GMT\+8|CST/);
    expect(dateTime('en', new Date('nonsense'))).toBe('');
  });
});

describe('a digest', () => {
  it('is shown by its ends when it is long', () => {
    expect(shortDigest('42f5cc97269a59ce4b1c1970e0f7dc95847bff3f84c08430bae60ee6aadf9460')).toBe('42f5cc9726…df9460');
    expect(shortDigest('short')).toBe('short');
  });
});
