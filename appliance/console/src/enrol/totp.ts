/**
 * One-time codes per RFC 6238 (SHA-1, 30 seconds, 6 digits), for the ceremony: the page makes the secret, and checks
 * that the person's device shows the right code at the box's time. The box checks each sign-in itself.
 */

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
const SECRET_BYTES = 20;
const STEP_SECONDS = 30;

/** How far a phone's clock may be off for the page to find out by how much: ten minutes either way. */
export const SEARCH_STEPS = 20;

export function makeSecret(): string {
  return toBase32(crypto.getRandomValues(new Uint8Array(SECRET_BYTES)));
}

export function toBase32(bytes: Uint8Array): string {
  let text = '';
  let buffer = 0;
  let bits = 0;
  for (const byte of bytes) {
    buffer = (buffer << 8) | byte;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += ALPHABET[(buffer >> bits) & 31] ?? '';
    }
    buffer &= (1 << bits) - 1;
  }
  return bits === 0 ? text : text + (ALPHABET[(buffer << (5 - bits)) & 31] ?? '');
}

export function fromBase32(text: string): Uint8Array<ArrayBuffer> {
  const bytes: number[] = [];
  let buffer = 0;
  let bits = 0;
  for (const character of text.replace(/[\s=]/g, '').toUpperCase()) {
    const value = ALPHABET.indexOf(character);
    if (value < 0) throw new RangeError('not a base32 character');
    buffer = (buffer << 5) | value;
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      bytes.push((buffer >> bits) & 255);
    }
    buffer &= (1 << bits) - 1;
  }
  return new Uint8Array(bytes);
}

/** In groups of four, as people type it off the screen. */
export function groupSecret(secret: string): string {
  return secret.replace(/(.{4})(?=.)/g, '$1 ');
}

export function otpauthUri(username: string, secret: string): string {
  const label = encodeURIComponent(`Jingui:${username}`);
  return `otpauth://totp/${label}?secret=${secret}&issuer=Jingui&algorithm=SHA1&digits=6&period=${STEP_SECONDS}`;
}

export function stepAt(at: Date): number {
  return Math.floor(at.getTime() / 1000 / STEP_SECONDS);
}

export async function codeAt(secret: string, step: number): Promise<string> {
  const key = await crypto.subtle.importKey('raw', fromBase32(secret), { name: 'HMAC', hash: 'SHA-1' }, false, ['sign']);
  const counter = new DataView(new ArrayBuffer(8));
  counter.setUint32(0, Math.floor(step / 2 ** 32));
  counter.setUint32(4, step % 2 ** 32);
  const mac = new DataView(await crypto.subtle.sign('HMAC', key, counter.buffer));
  const offset = mac.getUint8(19) & 15;
  const number = (mac.getUint32(offset) & 0x7fff_ffff) % 1_000_000;
  return String(number).padStart(6, '0');
}

export type CodeCheck = { kind: 'right' } | { kind: 'clock'; offsetSeconds: number } | { kind: 'wrong' };

/** Whether `code` is right at the box's time, one step either side; if not, whether a clock is off. */
export async function checkCode(secret: string, code: string, at: Date): Promise<CodeCheck> {
  const now = stepAt(at);
  for (let distance = 0; distance <= SEARCH_STEPS; distance += 1) {
    for (const step of distance === 0 ? [now] : [now - distance, now + distance]) {
      if ((await codeAt(secret, step)) !== code) continue;
      return distance <= 1 ? { kind: 'right' } : { kind: 'clock', offsetSeconds: (step - now) * STEP_SECONDS };
    }
  }
  return { kind: 'wrong' };
}
