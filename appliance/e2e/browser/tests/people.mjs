import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { answerText, ask, composer, get, goTo, proveOneself, sessionAccount, shareSession, switchLanguage, word } from '../lib/console.mjs';
import { test } from '../lib/suite.mjs';
import { freshCode } from '../lib/totp.mjs';

const ZH = 'zh-CN';
const QUESTION = 'Who can read the audit log?';
const ANSWER = 'Only the auditor may read the audit log.';
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const PAGES = ['chat', 'models', 'status'];

/** Presses Tab until the wanted element has the focus. Each stop on the way must be seen to have it. */
async function tabTo(page, wanted, stopsMax = 60) {
  for (let stop = 0; stop < stopsMax; stop += 1) {
    await page.keyboard.press('Tab');
    const focused = await page.evaluate(() => {
      const element = document.activeElement;
      if (element === null || element === document.body) return undefined;
      const style = getComputedStyle(element);
      const box = element.getBoundingClientRect();
      const frame = element.closest('form > div') ?? element;
      const seen = (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2) || getComputedStyle(frame).borderColor !== style.borderColor;
      return { name: element.outerHTML.slice(0, 120), seen, size: [box.width, box.height] };
    });
    if (focused !== undefined) assert.ok(focused.seen && focused.size[0] > 0, `focus is not visible on ${focused.name}`);
    if (await wanted.evaluate((element) => element === document.activeElement)) return;
  }
  assert.fail('the keyboard does not get there');
}

test('everything can be done with the keyboard alone', async ({ box, open }) => {
  const account = box.accounts[2];
  const page = await open();
  await page.goto('/');
  const name = page.getByLabel(word(ZH, 'signin.username'));
  await name.waitFor();
  assert.ok(await name.evaluate((element) => element === document.activeElement), 'the first field has the focus');
  await page.keyboard.type(account.username);
  await tabTo(page, page.getByLabel(word(ZH, 'signin.password'), { exact: true }), 1);
  await page.keyboard.type(account.password);
  await tabTo(page, page.getByLabel(word(ZH, 'signin.code')), 1);
  await page.keyboard.type(await freshCode(account));
  await page.keyboard.press('Enter');

  await composer(page, ZH);
  await page.waitForFunction(() => document.activeElement?.tagName === 'TEXTAREA');
  await page.keyboard.type(QUESTION);
  await page.keyboard.press('Enter');
  const turn = page.locator('ol > li').first();
  await turn.locator('footer').waitFor();
  assert.equal(await answerText(turn), ANSWER);
  await tabTo(page, turn.getByRole('button', { name: word(ZH, 'chat.regenerate') }));
  await tabTo(page, page.getByRole('checkbox', { name: word(ZH, 'chat.think') }));
  await page.keyboard.press('Space');
  assert.ok(await page.getByRole('checkbox', { name: word(ZH, 'chat.think') }).isChecked());

  for (const place of ['models', 'status']) {
    await tabTo(page, page.getByRole('link', { name: word(ZH, `${place}.title`), exact: true }));
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { level: 1, name: word(ZH, `${place}.title`), exact: true }).waitFor();
  }
  await tabTo(page, page.getByRole('button', { name: word(ZH, 'session.signOut') }));
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: word(ZH, 'signin.action'), exact: true }).waitFor();
  assert.equal((await get(page, '/api/status')).status, 401, 'the session is over on the box as well');
}, { allow: [/status of 401 .*\/api\/status$/] });

test('the first stop of the keyboard leads past the navigation', async ({ inside }) => {
  const page = await inside();
  await page.goto('/status');
  const skip = page.getByRole('link', { name: word(ZH, 'nav.skip') });
  await skip.waitFor();
  await tabTo(page, skip, 1);
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement?.id), 'main');
});

test(
  'a session that ended leads to sign-in and back, and the conversation is still there',
  async ({ box, inside }) => {
    const account = sessionAccount(box);
    const page = await inside();
    await page.goto('/chat');
    await ask(page, ZH, QUESTION);
    await goTo(page, ZH, 'models');
    await page.context().clearCookies();
    await page.getByRole('link', { name: word(ZH, 'status.title'), exact: true }).click();
    await page.getByText(word(ZH, 'signin.expired')).waitFor();
    await proveOneself(page, ZH, account);
    await page.getByRole('heading', { level: 1, name: word(ZH, 'status.title') }).waitFor();
    await goTo(page, ZH, 'chat');
    assert.equal(await answerText(page.locator('ol > li').first()), ANSWER);
    // An admin has one session: this one has ended the one that the tests shared.
    await shareSession(box, page);
  },
  { allow: [/status of 401 .*\/api\/(status|models)$/] },
);

for (const dark of [false, true]) {
  test(`axe finds nothing serious on any page, ${dark ? 'dark' : 'light'}`, async ({ browser, inside, open }) => {
    const page = await inside({ dark, language: dark ? 'en' : ZH });
    const language = dark ? 'en' : ZH;
    await page.goto('/chat');
    await page.getByRole('checkbox', { name: word(language, 'chat.think') }).check();
    await ask(page, language, QUESTION);
    await page.locator('details').first().locator('summary').click();
    for (const name of PAGES) {
      await goTo(page, language, name);
      await page.waitForLoadState('networkidle');
      await assertAccessible(page, name);
      if (dark) await browser.shot(page, `${name}-dark-en`);
    }
    const out = await open({ dark, language });
    await out.goto('/signin');
    await out.getByRole('button', { name: word(language, 'signin.action'), exact: true }).waitFor();
    await assertAccessible(out, 'sign-in');
  });
}

async function assertAccessible(page, where) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  const serious = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  assert.deepEqual(serious.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 160)).join(' | ')}`), [], where);
}

test('every page fits a width of 360 px and a zoom of 200 %, in both languages', async ({ browser, inside }) => {
  for (const [size, width, height] of [['360', 360, 740], ['zoom', 640, 400]]) {
    const page = await inside({ width, height });
    await page.goto('/chat');
    await ask(page, ZH, QUESTION);
    for (const language of [ZH, 'en']) {
      for (const name of PAGES) {
        await goTo(page, language, name);
        await page.waitForLoadState('networkidle');
        const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
        assert.ok(wide <= room, `${name} in ${language} is ${wide} px wide in ${room} px`);
        await browser.shot(page, `${name}-${size}-${language}`);
      }
      if (language === ZH) await switchLanguage(page, ZH);
    }
  }
});

test('every target is at least 24 by 24 px', async ({ inside }) => {
  const page = await inside();
  await page.goto('/chat');
  await ask(page, ZH, QUESTION);
  for (const name of PAGES) {
    await goTo(page, ZH, name);
    await page.waitForLoadState('networkidle');
    const small = await page.evaluate(() =>
      [...document.querySelectorAll('button, select, textarea, summary, input, nav a')]
        .map((element) => [element.closest('label') ?? element, element])
        .filter(([target]) => target.getClientRects().length > 0)
        .map(([target, element]) => ({ box: target.getBoundingClientRect(), html: element.outerHTML.slice(0, 100) }))
        .filter(({ box: { width, height } }) => width < 24 || height < 24)
        .map(({ box: { width, height }, html }) => `${width}x${height} ${html}`),
    );
    assert.deepEqual(small, [], name);
  }
});

test('a streamed answer is told to readers of the screen in sentences', async ({ inside }) => {
  const page = await inside();
  await page.goto('/chat');
  await composer(page, ZH);
  await page.evaluate(() => {
    globalThis.told = [];
    new MutationObserver(() => {
      const text = document.querySelector('[role="log"]')?.textContent ?? '';
      if (text !== '' && globalThis.told[globalThis.told.length - 1] !== text) globalThis.told.push(text);
    }).observe(document.body, { subtree: true, childList: true, characterData: true });
  });
  await ask(page, ZH, QUESTION);
  await page.waitForFunction((answer) => globalThis.told.join(' ').includes(answer), ANSWER);
  assert.deepEqual(await page.evaluate(() => globalThis.told), [ANSWER], 'told once, as a whole sentence');
});
