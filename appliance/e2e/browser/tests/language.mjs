import assert from 'node:assert/strict';
import { catalogue } from '../lib/box.mjs';
import { ask, goTo, switchLanguage, word } from '../lib/console.mjs';
import { test } from '../lib/suite.mjs';

/** Every text that a person sees or hears, without what the box itself says (names, digests, model output). */
function visibleTexts(page) {
  return page.evaluate(() => {
    const texts = [];
    const isShown = (element) => element.getClientRects().length > 0;
    const isForeign = (element) => element.closest('[translate="no"], [lang="zh-CN"]:not(html), [lang="en"]:not(html), section[aria-busy] > p:not(:first-child), details p:last-child') !== null;
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
      const element = node.parentElement;
      if (element !== null && node.textContent.trim() !== '' && isShown(element) && !isForeign(element)) texts.push(node.textContent.trim());
    }
    for (const element of document.querySelectorAll('[aria-label], [title], [placeholder], [alt]')) {
      if (isForeign(element)) continue;
      for (const name of ['aria-label', 'title', 'placeholder', 'alt']) {
        const text = element.getAttribute(name);
        if (text !== null && text.trim() !== '') texts.push(text.trim());
      }
    }
    return [...texts, document.title];
  });
}

const CJK = /[\u3400-\u9fff]/;
/** Words of the catalogue that are sure signs of English: those that are letters only and differ from the Chinese. */
const ENGLISH = new Set(Object.values(catalogue).map((entry) => entry.en).filter((text) => /^[A-Z][A-Za-z ,.'?-]{3,}$/.test(text)));

async function assertLanguage(page, language, where) {
  const texts = await visibleTexts(page);
  assert.ok(texts.length > 5, `${where}: ${texts.length} texts`);
  const wrong = texts.filter((text) => (language === 'en' ? CJK.test(text) : ENGLISH.has(text)));
  assert.deepEqual(wrong, [], `${where} in ${language}`);
  assert.equal(await page.locator('html').getAttribute('lang'), language);
}

test('the language switch changes every visible string on every page', async ({ browser, inside }) => {
  const page = await inside();
  await page.goto('/chat');
  await ask(page, 'zh-CN', 'Who can read the audit log?');
  for (const name of ['chat', 'models', 'status']) {
    await goTo(page, 'zh-CN', name);
    await page.waitForLoadState('networkidle');
    await assertLanguage(page, 'zh-CN', name);
    await switchLanguage(page, 'zh-CN');
    await assertLanguage(page, 'en', name);
    await browser.shot(page, `${name}-en`);
    await switchLanguage(page, 'en');
    await assertLanguage(page, 'zh-CN', name);
    await browser.shot(page, `${name}-zh`);
  }
});

test('sign-in speaks both languages', async ({ browser, open }) => {
  const page = await open();
  await page.goto('/signin');
  await page.getByRole('button', { name: word('zh-CN', 'signin.action'), exact: true }).waitFor();
  await assertLanguage(page, 'zh-CN', 'sign-in');
  await switchLanguage(page, 'zh-CN');
  await assertLanguage(page, 'en', 'sign-in');
  await browser.shot(page, 'signin-en');
});

test('the chosen language is remembered', async ({ inside }) => {
  const page = await inside({ language: 'en' });
  await page.goto('/models');
  await switchLanguage(page, 'en');
  await page.reload();
  await page.getByRole('heading', { level: 1, name: word('zh-CN', 'models.title') }).waitFor();
});
