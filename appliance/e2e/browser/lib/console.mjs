// What a person does on the console, found by roles and labels.

import assert from 'node:assert/strict';
import { pattern, word } from './box.mjs';
import { freshCode } from './totp.mjs';

export async function fillSignIn(page, language, { username, password, code }) {
  await page.getByLabel(word(language, 'signin.username')).fill(username);
  await page.getByLabel(word(language, 'signin.password'), { exact: true }).fill(password);
  await page.getByLabel(word(language, 'signin.code')).fill(code);
}

/** Somebody else who holds the same account may have used a code of this half minute, or of the next. */
const SIGN_IN_TRIES_MAX = 3;

/** Signs in and waits for the first page. */
export async function signIn(page, language, account, path = '/') {
  await page.goto(path);
  await proveOneself(page, language, account);
}

/** On the sign-in page: with a code that was not used yet, however many tries that takes. */
export async function proveOneself(page, language, account) {
  const inside = page.getByRole('navigation');
  const refused = page.getByRole('alert').locator('code');
  for (let tries = 0; tries < SIGN_IN_TRIES_MAX; tries += 1) {
    await fillSignIn(page, language, { ...account, code: await freshCode(account) });
    await page.keyboard.press('Enter');
    const button = page.getByRole('button', { name: word(language, 'signin.action'), exact: true });
    await inside.or(button.and(page.locator('[aria-disabled="false"]'))).first().waitFor();
    await inside.or(refused).first().waitFor();
    if (await inside.isVisible()) return;
    assert.equal(await refused.innerText(), 'auth.code.replayed');
  }
  assert.fail('no code was taken');
}

/** Whose session the tests share that are not about sign-in: each code works once, so sessions are dear. */
export function sessionAccount(box) {
  return box.accounts[1];
}

/** The shared session's cookies, from one sign-in at the first need. */
export async function sharedSession(box, browser) {
  if (box.session === undefined) {
    const page = await browser.page({ language: 'zh-CN' });
    await signIn(page, 'zh-CN', sessionAccount(box));
    await shareSession(box, page);
    await page.context().close();
  }
  return box.session;
}

/** From now on the tests go on in the session of this page. Its choice of language stays its own. */
export async function shareSession(box, page) {
  const { cookies } = await page.context().storageState();
  box.session = { cookies, origins: [] };
}

export async function goTo(page, language, name) {
  await page.getByRole('navigation').getByRole('link', { name: word(language, `${name}.title`) }).click();
  await page.getByRole('heading', { level: 1, name: word(language, `${name}.title`), exact: true }).waitFor();
}

/** The field of the question, once a model can be asked. */
export async function composer(page, language) {
  await page.locator('select > option:not([value])').first().waitFor({ state: 'attached' });
  return page.getByRole('textbox', { name: word(language, 'chat.question'), exact: true });
}

/** Asks, and gives the last turn once its answer has ended. */
export async function ask(page, language, question) {
  const turns = page.getByRole('region', { name: word(language, 'chat.log') }).locator('> ol > li');
  const before = await turns.count();
  await (await composer(page, language)).fill(question);
  await page.keyboard.press('Enter');
  const turn = turns.nth(before);
  await turn.waitFor();
  await ended(turn);
  return turn;
}

export async function ended(turn) {
  await turn.locator('section[aria-busy="false"]').waitFor({ timeout: 60_000 });
}

/** The answer's own text: neither thinking nor label nor figures. */
export async function answerText(turn) {
  const parts = await turn.locator('section[aria-busy] > p').allInnerTexts();
  return parts.slice(1).join('\n').trim();
}

/** What the box answers this page, in the page's own session and on its own connection. */
export function get(page, path) {
  return page.evaluate(async (to) => {
    const response = await fetch(to, { cache: 'no-store' });
    return { status: response.status, body: await response.json() };
  }, path);
}

export async function readModels(page) {
  const { status, body } = await get(page, '/api/models');
  assert.equal(status, 200);
  return body.data;
}

export async function readStatus(page) {
  const { status, body } = await get(page, '/api/status');
  assert.equal(status, 200);
  return body;
}

export async function switchLanguage(page, from) {
  await page.getByRole('button', { name: word(from, 'language.other'), exact: true }).click();
}

export { pattern, word };
