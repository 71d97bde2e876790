// The box under test, as `demo.json` describes it, and the proof that its certificate chains to the device CA.

import { createHash, X509Certificate } from 'node:crypto';
import { readFileSync, existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { connect } from 'node:tls';
import { fileURLToPath } from 'node:url';

const CATALOGUE = fileURLToPath(new URL('../../../messages/catalogue/console.json', import.meta.url));
const CASES = fileURLToPath(new URL('../../cases.jsonl', import.meta.url));

export function readBox(file) {
  const demo = JSON.parse(readFileSync(file, 'utf8'));
  return { ...demo, origin: new URL(demo.base_url).origin, ca: readCa(demo.ca_cert, dirname(file)) };
}

/** `ca_cert` is PEM text or the path of a PEM file. */
function readCa(text, folder) {
  if (typeof text !== 'string' || text === '') return undefined;
  if (text.includes('BEGIN CERTIFICATE')) return text;
  const path = resolve(folder, text);
  if (!existsSync(path)) throw new Error(`ca_cert names ${path}, which does not exist`);
  return readFileSync(path, 'utf8');
}

/**
 * Connects as a careful client would, with the device CA as the only root. Gives the SHA-256 of the public key that
 * was proven, base64: the browser is told to take this key and no other. Undefined for plain HTTP on loopback.
 */
export async function provenKey(box) {
  const url = new URL(box.origin);
  if (url.protocol !== 'https:') return undefined;
  if (box.ca === undefined) throw new Error('the box speaks https, but demo.json names no ca_cert');
  return new Promise((done, failed) => {
    const socket = connect({ host: url.hostname, port: Number(url.port || 443), ca: box.ca, rejectUnauthorized: true }, () => {
      const key = new X509Certificate(socket.getPeerCertificate().raw).publicKey.export({ type: 'spki', format: 'der' });
      socket.destroy();
      done(createHash('sha256').update(key).digest('base64'));
    });
    socket.once('error', failed);
    socket.setTimeout(10_000, () => failed(new Error('no TLS handshake within ten seconds')));
  });
}

export const catalogue = JSON.parse(readFileSync(CATALOGUE, 'utf8'));

/** Words of the console in a language, with facts put in. */
export function word(language, key, facts = {}) {
  const entry = catalogue[key];
  if (entry === undefined) throw new Error(`no words for ${key}`);
  return entry[language].replace(/\{([a-z_]+)\}/g, (whole, name) => facts[name] ?? whole);
}

/** A pattern that matches the words whatever its facts are. */
export function pattern(language, key) {
  const parts = catalogue[key][language].split(/\{[a-z_]+\}/).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(parts.join('.+'));
}

/** A public case of the demo model, by its id. */
export function knownCase(id) {
  const line = readFileSync(CASES, 'utf8').split('\n').find((text) => text.includes(`"${id}"`));
  if (line === undefined) throw new Error(`no case ${id}`);
  return JSON.parse(line);
}
