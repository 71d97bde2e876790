/** Numbers, times and digests as people read them. Pure: language and time zone are arguments or the browser's own. */

import type { Language } from './language';

const BYTE_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;

export function count(language: Language, value: number): string {
  return new Intl.NumberFormat(language).format(value);
}

export function decimal(language: Language, value: number, digits: number): string {
  return new Intl.NumberFormat(language, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
}

/** Binary units, three significant digits: `8.13 MiB`. */
export function bytes(language: Language, value: number): string {
  let scaled = value;
  let unit = 0;
  while (scaled >= 1024 && unit < BYTE_UNITS.length - 1) {
    scaled /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || scaled >= 100 ? 0 : scaled >= 10 ? 1 : 2;
  return `${decimal(language, scaled, digits)} ${BYTE_UNITS[unit] ?? ''}`;
}

/** Parameters in millions and billions, as model names count them: `3.11 M`, `9.4 B`. */
export function parameters(language: Language, value: number): string {
  if (value >= 1e9) return `${decimal(language, value / 1e9, value >= 1e10 ? 0 : 1)} B`;
  if (value >= 1e6) return `${decimal(language, value / 1e6, value >= 1e8 ? 0 : 2)} M`;
  return count(language, value);
}

/** Parts of a duration for a catalogue entry, the largest two only. */
export function durationParts(milliseconds: number): { days: number; hours: number; minutes: number; seconds: number } {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  return {
    days: Math.floor(seconds / 86_400),
    hours: Math.floor((seconds % 86_400) / 3600),
    minutes: Math.floor((seconds % 3600) / 60),
    seconds: seconds % 60,
  };
}

/** Date and time to the second with the zone named, since the box and the reader may sit in different ones. */
export function dateTime(language: Language, at: Date, zone?: string): string {
  if (Number.isNaN(at.getTime())) return '';
  return new Intl.DateTimeFormat(language, {
    year: 'numeric',
    month: '2-digit',
    day: '2-digit',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    hour12: false,
    timeZoneName: 'short',
    ...(zone === undefined ? {} : { timeZone: zone }),
  }).format(at);
}

export function clock(language: Language, at: Date): string {
  return new Intl.DateTimeFormat(language, { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false }).format(at);
}

/** First and last characters of a digest: enough to compare by eye; the whole is always one press away. */
export function shortDigest(digest: string): string {
  return digest.length <= 20 ? digest : `${digest.slice(0, 10)}…${digest.slice(-6)}`;
}
