import assert from 'node:assert/strict';
import { composer, fillSignIn, get, signIn, word } from '../lib/console.mjs';
import { test } from '../lib/suite.mjs';
import { freshCode } from '../lib/totp.mjs';

test('every answer carries the strict content security policy', async ({ open }) => {
  const page = await open();
  const response = await page.goto('/');
  const policy = response.headers()['content-security-policy'] ?? '';
  for (const rule of ["default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "require-trusted-types-for 'script'"]) {
    assert.ok(policy.includes(rule), `the policy lacks ${rule}: ${policy}`);
  }
  assert.ok(!policy.includes('unsafe-'), policy);
  assert.equal(response.headers()['x-content-type-options'], 'nosniff');
  assert.equal(response.headers()['referrer-policy'], 'no-referrer');
  await page.getByRole('button', { name: word('zh-CN', 'signin.action'), exact: true }).waitFor();
});

test('a wrong password is refused with what happened, why and what to do', async ({ box, browser, open }) => {
  const page = await open();
  await page.goto('/');
  await browser.shot(page, 'signin-zh');
  const account = box.accounts[0];
  await fillSignIn(page, 'zh-CN', { ...account, password: `${account.password}x`, code: '000000' });
  await page.keyboard.press('Enter');
  const alert = page.getByRole('alert');
  await alert.waitFor();
  const lines = (await alert.innerText()).split('\n').filter((line) => line.trim() !== '');
  assert.ok(lines.length >= 3, lines.join(' | '));
  assert.ok((await alert.innerText()).includes(word('zh-CN', 'fault.remedy')));
  assert.match(await alert.locator('code').innerText(), /^[a-z]+(\.[a-z-]+)+$/);
  assert.match(lines[0], /[\u4e00-\u9fff]/, 'the words are in the language of the page');
  assert.equal(await page.getByLabel(word('zh-CN', 'signin.username')).inputValue(), account.username, 'the name is kept');
  await browser.shot(page, 'signin-wrong-zh');
});

test('the right proof leads to the chat, and its code cannot be used again', async ({ box, open }) => {
  const account = box.accounts[box.accounts.length - 1];
  const code = await freshCode(account);
  const page = await open();
  await page.goto('/');
  await fillSignIn(page, 'zh-CN', { ...account, code });
  await page.keyboard.press('Enter');
  await composer(page, 'zh-CN');
  assert.equal(new URL(page.url()).pathname, '/chat');

  const other = await open();
  await other.goto('/');
  await fillSignIn(other, 'zh-CN', { ...account, code });
  await other.keyboard.press('Enter');
  const alert = other.getByRole('alert');
  await alert.waitFor();
  assert.equal(await alert.locator('code').innerText(), 'auth.code.replayed');
  assert.equal((await get(other, '/api/status')).status, 401);
}, { allow: [/status of 401 .*\/api\/status$/] });

test('an address behind sign-in leads to sign-in and from there to the page', async ({ box, browser, open }) => {
  const page = await open({ language: 'en' });
  await signIn(page, 'en', box.accounts[1], '/status');
  await page.getByRole('heading', { level: 1, name: word('en', 'status.title') }).waitFor();
  assert.equal(new URL(page.url()).pathname, '/status');
  const cookies = await page.context().cookies();
  assert.equal(cookies.length, 1);
  assert.ok(cookies[0].httpOnly && cookies[0].sameSite === 'Strict', JSON.stringify(cookies[0]));
  if (box.origin.startsWith('https:')) assert.ok(cookies[0].secure && cookies[0].name.startsWith('__Host-'));
  await browser.shot(page, 'status-en');
});

test('sign-in shows the time of the box, by which codes are judged', async ({ open }) => {
  const page = await open({ language: 'en' });
  await page.goto('/signin');
  const shown = page.getByText(/^Box time /);
  await shown.waitFor();
  assert.match(await shown.innerText(), /\d{2}\/\d{2}\/\d{4}, \d{2}:\d{2}:\d{2} \S+/);
});
