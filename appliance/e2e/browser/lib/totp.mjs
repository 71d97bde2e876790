// One-time codes per RFC 6238, for the tests: written here a second time, so that the console's own are judged.

import { createHmac } from 'node:crypto';

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
export const STEP_MS = 30_000;

export function codeAt(secret, step) {
  const bits = Array.from(secret.replace(/[\s=]/g, ''), (character) => ALPHABET.indexOf(character).toString(2).padStart(5, '0')).join('');
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(step));
  const mac = createHmac('sha1', key).update(counter).digest();
  return String((mac.readUInt32BE(mac[19] & 15) & 0x7fffffff) % 1_000_000).padStart(6, '0');
}

/**
 * A code that the account has not used. The box takes one step either side and refuses a step once used, so the next
 * free step is taken; when it is too far ahead, the clock is polled until it is near enough.
 */
export async function freshCode(account) {
  const step = Math.max(Math.floor(Date.now() / STEP_MS), (account.lastStep ?? 0) + 1);
  while (Math.floor(Date.now() / STEP_MS) < step - 1) await new Promise((resolve) => setTimeout(resolve, 200));
  account.lastStep = step;
  return codeAt(account.totp_secret, step);
}
