// A box for developing the console and its tests without one: the gateway's routes with made-up data, on loopback,
// under the same content security policy. It is no part of the product. Sign-in is real: passwords and one-time
// codes are checked, and a used code is refused.
//
//   node mock/server.mjs [--port N] [--demo FILE] [--setup] [--mood ok|restarting|stopped] [--token-ms N] [--tls DIR]
//
// With `--tls` it speaks https with DIR/chain.pem and DIR/key.pem, and names DIR/ca.pem in the demo file.

import { createHmac, randomBytes, randomUUID } from 'node:crypto';
import { createReadStream, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { answer } from './answers.mjs';
import { MODEL, SERIAL, status } from './data.mjs';

const DIST = fileURLToPath(new URL('../dist', import.meta.url));
const CLIENT_ROUTES = new Set(['/', '/chat', '/models', '/status', '/setup', '/signin']);
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml' };
const SETUP_CODE = 'MOCK-SETUP-2026';
const TRIES_MAX = 5;

const HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; worker-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'; require-trusted-types-for 'script'; trusted-types app",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-opener-policy': 'same-origin',
  'permissions-policy': 'camera=(), clipboard-read=(), clipboard-write=(), geolocation=(), microphone=(), usb=()',
  'x-frame-options': 'DENY',
};

const WORDS = {
  'auth.proof.wrong': { 'zh-CN': ['登录未成功。', '用户名、密码或验证码不正确。', '请核对后重新输入；连续五次错误会锁定账号十五分钟。'], en: ['You were not signed in.', 'The name, the password or the code is wrong.', 'Check all three and try again. Five wrong tries lock the account for fifteen minutes.'] },
  'auth.code.replayed': { 'zh-CN': ['验证码已被使用。', '每个验证码只能使用一次。', '请等待验证器显示下一个验证码。'], en: ['This code was used before.', 'Each code works once.', 'Wait for the next code on your authenticator.'] },
  'auth.account.locked': { 'zh-CN': ['账号已锁定。', '连续多次输入错误。', '请十五分钟后再试。'], en: ['The account is locked.', 'There were too many wrong tries.', 'Try again in fifteen minutes.'] },
  'auth.session.missing': { 'zh-CN': ['尚未登录。', '会话不存在或已过期。', '请登录。'], en: ['You are not signed in.', 'There is no session, or it has ended.', 'Sign in.'] },
  'auth.setup.wrong-code': { 'zh-CN': ['设置码不正确。', '它与设备屏幕上显示的不一致。', '请核对设备屏幕上的设置码。'], en: ['The setup code is wrong.', 'It is not the one on the box’s own screen.', 'Compare it with the screen of the box.'] },
  'api.path.unknown': { 'zh-CN': ['没有这个接口。', '地址不存在。', '请核对地址。'], en: ['There is no such path.', 'The address does not exist.', 'Check the address.'] },
};

const options = readOptions(process.argv.slice(2));
const startedAt = Date.now();
const accounts = options.setup ? [] : ['system', 'security', 'audit', 'user'].map(makeAccount);
const sessions = new Map();
let leafCount = 24;

const listen = options.tls === undefined ? createServer : createTlsServer.bind(null, { cert: pem('chain.pem'), key: pem('key.pem') });
const cookieName = options.tls === undefined ? 'jingui' : '__Host-jingui';
const server = listen((request, response) => {
  handle(request, response).catch((error) => {
    console.error(error);
    response.destroy();
  });
});
server.listen(options.port, '127.0.0.1', () => {
  const url = `${options.tls === undefined ? 'http' : 'https'}://127.0.0.1:${server.address().port}`;
  if (options.demo !== undefined) writeDemo(options.demo, url);
  console.log(`mock box at ${url}${options.setup ? `, setup code ${SETUP_CODE}` : ''}`);
});

async function handle(request, response) {
  const path = new URL(request.url, 'http://box').pathname;
  for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
  response.setHeader('x-request-id', randomUUID());
  if (path.startsWith('/api/')) return api(`${request.method} ${path}`, request, response);
  if (path === '/ca.pem') return response.writeHead(200, { 'content-type': 'application/x-pem-file' }).end('');
  const file = join(DIST, CLIENT_ROUTES.has(path) ? 'index.html' : path);
  const found = file.startsWith(DIST) && existsSync(file) && TYPES[extname(file)] !== undefined ? file : join(DIST, 'index.html');
  response.writeHead(200, { 'content-type': TYPES[extname(found)], 'cache-control': found.endsWith('.html') ? 'no-store' : 'max-age=31536000, immutable' });
  createReadStream(found).pipe(response);
}

async function api(route, request, response) {
  if (request.method !== 'GET' && request.headers['x-jingui-console'] !== '1') return problem(request, response, 403, 'auth.session.missing');
  const person = sessions.get(/(?:^|; )(?:__Host-)?jingui=([^;]+)/.exec(request.headers.cookie ?? '')?.[1]);
  switch (route) {
    case 'GET /api/setup':
      return json(response, 200, { is_set_up: accounts.length > 0 });
    case 'POST /api/setup':
      return setUp(request, response);
    case 'POST /api/session':
      return signIn(request, response);
  }
  if (person === undefined) return problem(request, response, 401, 'auth.session.missing');
  switch (route) {
    case 'GET /api/session':
      return json(response, 200, { username: person.username, role: person.role, expires_at: new Date(Date.now() + 900_000).toISOString() });
    case 'DELETE /api/session':
      for (const [id, one] of sessions) if (one === person) sessions.delete(id);
      return response.writeHead(204).end();
    case 'GET /api/status':
      return json(response, 200, status(options.mood, startedAt, leafCount));
    case 'GET /api/models':
      return json(response, 200, { data: options.mood === 'restarting' ? [{ ...MODEL, state: 'loading' }] : [MODEL] });
    case 'POST /api/chat':
      return chat(request, response);
    default:
      return problem(request, response, 404, 'api.path.unknown');
  }
}

async function signIn(request, response) {
  const { username, password, code } = await body(request);
  const account = accounts.find((one) => one.username === username);
  if (account !== undefined && account.wrongTries >= TRIES_MAX) return problem(request, response, 429, 'auth.account.locked');
  const step = account === undefined ? undefined : matchingStep(account.totp_secret, code);
  if (account === undefined || account.password !== password || step === undefined) {
    if (account !== undefined) account.wrongTries += 1;
    return problem(request, response, 401, 'auth.proof.wrong');
  }
  if (step <= account.lastStep) return problem(request, response, 401, 'auth.code.replayed');
  Object.assign(account, { lastStep: step, wrongTries: 0 });
  const id = randomBytes(24).toString('hex');
  sessions.set(id, account);
  leafCount += 1;
  response.setHeader('set-cookie', `${cookieName}=${id}; HttpOnly; SameSite=Strict; Path=/${options.tls === undefined ? '' : '; Secure'}`);
  return json(response, 200, { username, role: account.role, expires_at: new Date(Date.now() + 900_000).toISOString() });
}

async function setUp(request, response) {
  const asked = await body(request);
  const wrong = asked.setup_code !== SETUP_CODE || asked.accounts.some((account) => matchingStep(account.totp_secret, account.totp_code) === undefined);
  if (accounts.length > 0 || wrong) return problem(request, response, 400, 'auth.setup.wrong-code');
  for (const account of [...asked.accounts, ...(asked.first_user ? [{ ...asked.first_user, role: 'user' }] : [])]) accounts.push({ ...account, lastStep: 0, wrongTries: 0 });
  return json(response, 200, { leaf_index: 9, first_key: asked.first_key_label ? `k7f2m9q1.${randomBytes(24).toString('hex')}` : null });
}

async function chat(request, response) {
  const asked = await body(request);
  const base = { id: `chatcmpl-${randomBytes(8).toString('hex')}`, object: 'chat.completion.chunk', created: Math.floor(Date.now() / 1000), model: asked.model };
  const send = (fields) => response.write(`data: ${JSON.stringify({ ...base, ...fields })}\n\n`);
  const parts = answer(asked);
  let isOpen = true;
  response.on('close', () => {
    isOpen = false;
  });
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache, no-transform' });
  response.write(': keep-alive\n\n');
  await pause(120);
  send({ choices: [{ index: 0, delta: { role: 'assistant' }, finish_reason: null }], usage: null });
  for (const part of parts) {
    if (!isOpen) return;
    const delta = part.call === undefined ? (part.reasoning === undefined ? { content: part.content } : { reasoning_content: part.reasoning }) : { tool_calls: [part.call] };
    send({ choices: [{ index: 0, delta, finish_reason: null }], usage: null });
    await pause(options.tokenMs);
  }
  leafCount += 1;
  send({ choices: [{ index: 0, delta: {}, finish_reason: parts.some((part) => part.call) ? 'tool_calls' : 'stop' }], usage: null, produce_id: `${SERIAL}-${leafCount - 1}` });
  send({ choices: [], usage: { prompt_tokens: 24, completion_tokens: parts.length + 1, total_tokens: parts.length + 25 } });
  response.end('data: [DONE]\n\n');
}

function matchingStep(secret, code) {
  const now = Math.floor(Date.now() / 30_000);
  return [now, now - 1, now + 1].find((step) => totp(secret, step) === code);
}

function totp(secret, step) {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
  const bits = Array.from(secret, (character) => alphabet.indexOf(character).toString(2).padStart(5, '0')).join('');
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(step));
  const mac = createHmac('sha1', key).update(counter).digest();
  const number = mac.readUInt32BE(mac[19] & 15) & 0x7fffffff;
  return String(number % 1_000_000).padStart(6, '0');
}

function makeAccount(role) {
  const secret = Array.from(randomBytes(32), (byte) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'[byte & 31]).join('');
  return { role, username: `${role}-demo`, password: `Aa1-${randomBytes(9).toString('base64url')}`, totp_secret: secret, lastStep: 0, wrongTries: 0 };
}

function writeDemo(file, url) {
  mkdirSync(dirname(file), { recursive: true });
  const people = accounts.map(({ role, username, password, totp_secret }) => ({ role, username, password, totp_secret }));
  writeFileSync(file, JSON.stringify({ base_url: url, ca_cert: options.tls === undefined ? null : join(options.tls, 'ca.pem'), api_key: 'none', accounts: people, model: MODEL.name }, null, 2), { mode: 0o600 });
}

function problem(request, response, code, name) {
  const language = (request.headers['accept-language'] ?? '').startsWith('en') ? 'en' : 'zh-CN';
  const [title, detail, remedy] = WORDS[name][language];
  response.writeHead(code, { 'content-type': 'application/problem+json' });
  response.end(JSON.stringify({ type: 'about:blank', title, status: code, code: name, detail, remedy, request_id: response.getHeader('x-request-id') }));
}

function json(response, code, value) {
  response.writeHead(code, { 'content-type': 'application/json' });
  response.end(JSON.stringify(value));
}

async function body(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return JSON.parse(Buffer.concat(parts).toString());
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

function pem(name) {
  return readFileSync(join(options.tls, name));
}

function readOptions(words) {
  const value = (name) => (words.includes(name) ? words[words.indexOf(name) + 1] : undefined);
  return { port: Number(value('--port') ?? 8480), demo: value('--demo'), setup: words.includes('--setup'), mood: value('--mood') ?? 'ok', tokenMs: Number(value('--token-ms') ?? 25), tls: value('--tls') };
}
