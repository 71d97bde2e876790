// The console in the oldest engine that it supports: a real Chromium 86, which a package for tests carries inside.
// Playwright no longer drives it, so a driver of its age does; the claims are fewer than in ../run.mjs for that reason.
//
//   JINGUI_DEMO=FILE        the box's demo.json
//   JINGUI_SHOTS=FOLDER     pictures go there (optional)

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { brotliDecompressSync } from 'node:zlib';
import puppeteer from 'puppeteer-core';
import { knownCase, provenKey, readBox, word } from '../lib/box.mjs';
import { freshCode } from '../lib/totp.mjs';

const FLOOR = /^HeadlessChrome\/86\./;
const FLAGS = ['--no-sandbox', '--disable-gpu', '--no-zygote', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run'];
const ZH = 'zh-CN';
const WAIT = { timeout: 20_000 };

const demo = process.env.JINGUI_DEMO;
const shots = process.env.JINGUI_SHOTS;
if (demo === undefined) {
  console.error('JINGUI_DEMO must name the demo.json of a running box');
  process.exit(64);
}
if (shots !== undefined) mkdirSync(shots, { recursive: true });

const folder = mkdtempSync(join(tmpdir(), 'jingui-floor-'));
let browser;
try {
  browser = await launch();
  await useConsole(await browser.newPage());
  console.log('1 passed, 0 failed');
} catch (error) {
  console.log(error.stack ?? String(error));
  console.log('0 passed, 1 failed');
  process.exitCode = 1;
} finally {
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
}

async function launch() {
  const packed = join(dirname(createRequire(import.meta.url).resolve('chrome-aws-lambda/package.json')), 'bin/chromium.br');
  const program = join(folder, 'chromium');
  writeFileSync(program, brotliDecompressSync(readFileSync(packed)), { mode: 0o755 });
  const key = await provenKey(readBox(demo));
  const started = await puppeteer.launch({
    executablePath: program,
    userDataDir: join(folder, 'profile'),
    args: [...FLAGS, `--lang=${ZH}`, ...(key === undefined ? [] : [`--ignore-certificate-errors-spki-list=${key}`])],
    defaultViewport: { width: 1280, height: 800 },
  });
  assert.match(await started.version(), FLOOR);
  return started;
}

async function useConsole(page) {
  const box = readBox(demo);
  const account = box.accounts[0];
  const seen = watch(page, box.origin);
  // The engine has no Chinese locale inside: the person's choice is what counts.
  await page.evaluateOnNewDocument((language) => localStorage.setItem('jingui.language', language), ZH);

  await page.goto(box.base_url);
  await page.waitForSelector('form', WAIT);
  await shot(page, 'signin');
  const [name, password, code] = await page.$$('form input');
  await name.type(account.username);
  await password.type(account.password);
  await code.type(await freshCode(account));
  await page.keyboard.press('Enter');

  const { messages, expected } = knownCase('public-faq_think-001');
  await page.waitForSelector('select > option:not([value])', WAIT);
  await page.click('input[type="checkbox"]');
  await page.type('main form textarea', messages[0].content);
  await page.keyboard.press('Enter');
  await page.waitForSelector('ol footer code', WAIT);
  const answer = await page.$$eval('section[aria-busy] > p', (parts) => parts.slice(1).map((part) => part.innerText).join('\n'));
  assert.equal(answer.trim(), expected.content);
  assert.equal(await page.$eval('ol details', (thinking) => thinking.open), false, 'thinking is folded');
  await shot(page, 'chat');

  await page.click('nav a[href="/models"]');
  await waitForText(page, word(ZH, 'models.signed'));
  await shot(page, 'models');
  await page.click('nav a[href="/status"]');
  await waitForText(page, word(ZH, 'health.ok'));
  await waitForText(page, word(ZH, 'guarantee.inForce'));
  await shot(page, 'status');
  const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  assert.ok(wide <= room, `the page is ${wide} px wide in ${room} px`);
  assert.deepEqual(seen, [], 'the browser saw what it must not see');
}

function watch(page, origin) {
  const seen = [];
  page.on('pageerror', (error) => seen.push(error.message));
  page.on('console', (message) => {
    const isRefusedSession = message.text().includes('status of 401') && message.location().url?.endsWith('/api/session');
    if (message.type() === 'error' && !isRefusedSession) seen.push(message.text());
  });
  page.on('request', (request) => {
    if (new URL(request.url()).origin !== origin) seen.push(`request to ${request.url()}`);
  });
  return seen;
}

function waitForText(page, text) {
  return page.waitForFunction((wanted) => document.body.innerText.includes(wanted), WAIT, text);
}

async function shot(page, name) {
  if (shots !== undefined) await page.screenshot({ path: join(shots, `floor-${name}.png`) });
}
