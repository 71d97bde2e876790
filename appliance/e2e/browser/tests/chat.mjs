import assert from 'node:assert/strict';
import { knownCase } from '../lib/box.mjs';
import { answerText, ask, composer, ended, pattern, readStatus, word } from '../lib/console.mjs';
import { test } from '../lib/suite.mjs';

const ZH = 'zh-CN';
const QUESTION = 'Who can read the audit log?';
const ANSWER = 'Only the auditor may read the audit log.';

async function openChat({ inside }, options = {}) {
  const page = await inside(options);
  await page.goto('/chat');
  await composer(page, options.language ?? ZH);
  return page;
}

test('a question gets its known answer, with tokens, time, ProduceID and the AI label', async (world) => {
  const page = await openChat(world);
  await world.browser.shot(page, 'chat-empty-zh');
  await page.getByText('由AI生成').first().waitFor();
  const turn = await ask(page, ZH, QUESTION);
  assert.equal(await answerText(turn), ANSWER);
  const foot = await turn.locator('footer').innerText();
  for (const key of ['chat.tokens', 'chat.firstToken', 'chat.total']) assert.match(foot, pattern(ZH, key));
  const produceId = await turn.locator('footer code').innerText();
  assert.match(produceId, /^.+-\d+$/);
  assert.ok((await turn.innerText()).includes(word(ZH, 'chat.aiLabel')));
  const notice = page.locator('form').getByText(word(ZH, 'chat.aiNotice'));
  assert.ok(await notice.isVisible());
  const { serial } = await readStatus(page);
  assert.ok(produceId.startsWith(`${serial}-`), `${produceId} begins with the serial ${serial}`);
  const leaf = Number(produceId.slice(serial.length + 1));
  // The gateway's picture of the box is up to a second old.
  const deadline = Date.now() + 3000;
  while ((await readStatus(page)).audit.size <= leaf) assert.ok(Date.now() < deadline, `leaf ${leaf} is not inside the signed log`);
});

test('an answer appears while it is made, and is whole', async (world) => {
  const { messages, expected } = knownCase('public-count_long-001');
  const page = await openChat(world);
  await page.evaluate(() => {
    globalThis.lengths = new Set();
    new MutationObserver(() => {
      const texts = document.querySelectorAll('section[aria-busy="true"] > p');
      const text = texts[texts.length - 1]?.textContent ?? '';
      if (texts.length > 1) globalThis.lengths.add(text.length);
    }).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
  });
  const turn = await ask(page, ZH, messages[0].content);
  assert.equal(await answerText(turn), expected.content);
  const lengths = await page.evaluate(() => globalThis.lengths.size);
  assert.ok(lengths >= 3, `the answer grew in ${lengths} steps`);
});

test('thinking is folded, has its own label, and is no part of the answer', async (world) => {
  const { messages, expected } = knownCase('public-faq_think-001');
  const page = await openChat(world);
  await page.getByRole('checkbox', { name: word(ZH, 'chat.think') }).check();
  const turn = await ask(page, ZH, messages[0].content);
  assert.equal(await answerText(turn), expected.content);
  const thinking = turn.locator('details');
  assert.equal(await thinking.getAttribute('open'), null, 'it is folded');
  assert.ok(!(await turn.innerText()).includes(expected.reasoning));
  const summary = thinking.locator('summary');
  assert.match(await summary.innerText(), pattern(ZH, 'chat.thought'));
  await summary.click();
  await thinking.getByText(expected.reasoning).waitFor();
  assert.ok((await thinking.innerText()).includes(word(ZH, 'chat.thinkingNote')));
  await world.browser.shot(page, 'chat-thinking-zh');
});

test('a tool call is shown readably and not run', async (world) => {
  const { messages, tools, expected } = knownCase('public-tool_call-001');
  const page = await openChat(world, { language: 'en' });
  await page.getByText(word('en', 'chat.more')).click();
  await page.getByLabel(word('en', 'chat.tools')).fill(JSON.stringify(tools));
  await page.getByText(word('en', 'chat.more')).click();
  const turn = await ask(page, 'en', messages[0].content);
  const call = turn.getByRole('listitem').filter({ hasText: word('en', 'chat.toolCall') });
  assert.ok((await call.innerText()).includes(expected.tool_calls[0].name));
  for (const [name, value] of Object.entries(expected.tool_calls[0].arguments)) {
    const row = call.locator('dl > div').filter({ hasText: name });
    assert.equal(await row.locator('dd').innerText(), String(value));
  }
  await world.browser.shot(page, 'chat-tool-en');
});

test('stop ends an answer in the middle, and the next question is answered', async (world) => {
  const page = await openChat(world);
  const stop = word(ZH, 'chat.stop');
  // Pressed by the page's own hand as soon as the first words are there: a fast model leaves a person no time.
  await page.evaluate((name) => {
    new MutationObserver((_, observer) => {
      const text = document.querySelectorAll('section[aria-busy="true"] > p')[1]?.textContent ?? '';
      const button = [...document.querySelectorAll('form button')].find((one) => one.textContent === name);
      if (!/\d/.test(text) || button === undefined) return;
      observer.disconnect();
      button.click();
    }).observe(document.body, { subtree: true, childList: true, characterData: true });
  }, stop);
  const turn = await ask(page, ZH, 'Please count from 100 to 600.');
  assert.ok((await turn.innerText()).includes(word(ZH, 'chat.stopped')));
  assert.ok(!(await answerText(turn)).includes('600'), 'the answer did not come to its end');
  await page.getByRole('button', { name: word(ZH, 'chat.new') }).click();
  assert.equal(await answerText(await ask(page, ZH, QUESTION)), ANSWER);
});

test('an answer can be asked for again, and a new chat begins empty', async (world) => {
  const page = await openChat(world);
  const turn = await ask(page, ZH, QUESTION);
  const before = await turn.locator('footer code').innerText();
  await turn.getByRole('button', { name: word(ZH, 'chat.regenerate') }).click();
  await page.locator('footer code').filter({ hasNotText: before }).waitFor();
  const turns = page.locator('ol > li').filter({ hasText: QUESTION });
  assert.equal(await turns.count(), 1);
  await ended(turns);
  assert.equal(await answerText(turns), ANSWER);
  await page.getByRole('button', { name: word(ZH, 'chat.new') }).click();
  await page.getByRole('heading', { name: word(ZH, 'chat.welcome') }).waitFor();
  assert.equal(await page.locator('footer').count(), 0);
});

test('a copied answer carries the label that AI wrote it', async (world) => {
  const page = await openChat(world);
  const turn = await ask(page, ZH, QUESTION);
  const produceId = await turn.locator('footer code').innerText();
  await turn.getByRole('button', { name: word(ZH, 'copy.action') }).first().click();
  await turn.getByText(word(ZH, 'copy.done')).first().waitFor();
  const field = await composer(page, ZH);
  await field.focus();
  await page.keyboard.press('Control+V');
  const pasted = await field.inputValue();
  assert.ok(pasted.startsWith(ANSWER), pasted);
  assert.ok(pasted.includes('由AI生成') && pasted.includes(produceId), pasted);
});

test('Shift and Enter begin a new line, and an empty question is not sent', async (world) => {
  const page = await openChat(world);
  const field = await composer(page, ZH);
  await field.press('Enter');
  const send = page.getByRole('button', { name: word(ZH, 'chat.send') });
  assert.equal(await send.getAttribute('aria-disabled'), 'true');
  assert.equal(await send.getAttribute('title'), word(ZH, 'chat.writeFirst'));
  await field.fill('one');
  await field.press('Shift+Enter');
  await page.keyboard.type('two');
  assert.equal(await field.inputValue(), 'one\ntwo');
  assert.equal(await page.locator('footer').count(), 0);
});

test(
  'a request that fails says what happened, and the question can be asked again',
  async (world) => {
    const page = await openChat(world);
    await page.route('**/api/chat', (route) => route.abort());
    const turn = await ask(page, ZH, QUESTION);
    const alert = turn.getByRole('alert');
    assert.ok((await alert.innerText()).includes(word(ZH, 'fault.unreachable.what')));
    await page.unroute('**/api/chat');
    await turn.getByRole('button', { name: word(ZH, 'chat.regenerate') }).click();
    await page.getByText(ANSWER, { exact: true }).first().waitFor();
  },
  { allow: [/^Failed to load resource: net::ERR_FAILED .*\/api\/chat$/] },
);
