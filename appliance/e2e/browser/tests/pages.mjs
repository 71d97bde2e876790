import assert from 'node:assert/strict';
import { goTo, pattern, readModels, readStatus, word } from '../lib/console.mjs';
import { test } from '../lib/suite.mjs';

const ZH = 'zh-CN';
/** Digest of the demo model's weights: public, and the same on every box. */
const CANARY_DIGEST = '42f5cc97269a59ce4b1c1970e0f7dc95847bff3f84c08430bae60ee6aadf9460';

async function valueOf(scope, name) {
  const value = scope.locator('dl > div').filter({ has: scope.page().locator('dt').getByText(name, { exact: true }) }).locator('dd');
  await value.first().waitFor();
  return value.first();
}

test('the models page shows the verified signature, the whole digests and the facts', async ({ browser, inside }) => {
  const page = await inside();
  await page.goto('/models');
  const models = await readModels(page);
  const model = models.find((one) => one.state === 'serving');
  assert.ok(model !== undefined, 'a model serves');
  const card = page.getByRole('region', { name: word(ZH, 'models.heading', model).replace(/\s+/g, ' ') });
  await card.waitFor();
  await card.getByText(word(ZH, 'models.signed'), { exact: true }).waitFor();
  await card.getByText(word(ZH, 'models.state.serving'), { exact: true }).waitFor();
  assert.equal(model.weights_digest, CANARY_DIGEST);
  for (const [key, field] of [['models.package', 'package_digest'], ['models.weights', 'weights_digest'], ['models.signedBy', 'signed_by'], ['models.template', 'chat_template_digest']]) {
    const code = (await valueOf(card, word(ZH, key))).locator('code');
    assert.equal(await code.getAttribute('title'), model[field]);
    assert.ok((await code.innerText()).startsWith(model[field].slice(0, 10)));
  }
  const shown = async (key) => (await valueOf(card, word(ZH, key))).innerText();
  assert.equal(await shown('models.architecture'), model.architecture);
  assert.equal(await shown('models.license'), model.license);
  assert.equal(await shown('models.layers'), String(model.layer_count));
  assert.match(await shown('models.kv'), /^[\d.,]+ (B|KiB|MiB)$/);
  assert.equal(await shown('models.filing'), model.filing_number === '' ? word(ZH, 'models.filingNone') : model.filing_number);
  await browser.shot(page, 'models-zh');
});

test('a digest is copied whole', async ({ inside }) => {
  const page = await inside();
  await page.goto('/models');
  const [model] = await readModels(page);
  await page.getByRole('button', { name: word(ZH, 'copy.name', { action: word(ZH, 'copy.action'), what: word(ZH, 'models.weights') }) }).click();
  await page.getByText(word(ZH, 'copy.done')).first().waitFor();
  await goTo(page, ZH, 'chat');
  const field = page.getByRole('textbox', { name: word(ZH, 'chat.question'), exact: true });
  await field.focus();
  await page.keyboard.press('Control+V');
  assert.equal(await field.inputValue(), model.weights_digest);
});

test('the status page begins with health and shows each process, guarantee and the audit log', async ({ box, browser, inside }) => {
  const page = await inside();
  await page.goto('/status');
  const status = await readStatus(page);
  const health = page.getByRole('region', { name: word(ZH, 'health.title') });
  await health.getByText(word(ZH, `health.${status.health}`), { exact: true }).waitFor();
  assert.equal(status.health, 'ok');

  for (const process of status.processes) {
    const row = page.getByRole('row').filter({ has: page.getByRole('rowheader', { name: word(ZH, `process.${process.role}`), exact: true }) });
    assert.ok((await row.innerText()).includes(String(process.pid)), `${process.role} ${process.pid}`);
  }
  assert.ok(status.processes.some((process) => process.role === 'engine') && status.processes.some((process) => process.role === 'gateway'));

  const guarantees = page.getByRole('region', { name: word(ZH, 'guarantee.title'), exact: true });
  assert.ok(status.guarantees.length >= 24 + 5, `${status.guarantees.length} guarantees`);
  for (const guarantee of status.guarantees) {
    const item = guarantees.getByRole('listitem').filter({ has: page.locator('code').getByText(guarantee.name, { exact: true }) });
    const text = await item.innerText();
    assert.ok(text.includes(word(ZH, guarantee.in_force ? 'guarantee.inForce' : 'guarantee.notInForce')), text);
    if (!guarantee.in_force) assert.ok(text.includes(guarantee.why), `${guarantee.name} says why: ${text}`);
  }

  const log = page.getByRole('region', { name: word(ZH, 'audit.title'), exact: true });
  assert.equal(await (await valueOf(log, word(ZH, 'audit.vkey'))).locator('code').innerText(), status.audit.vkey);
  if (box.audit_vkey !== undefined) assert.equal(status.audit.vkey, box.audit_vkey);
  await log.getByText(word(ZH, 'audit.writable'), { exact: true }).waitFor();
  await browser.shot(page, 'status-zh');
  await guarantees.scrollIntoViewIfNeeded();
  await browser.shot(page, 'status-guarantees-zh');
});

test('each guarantee and each reason has words of its own', async ({ inside }) => {
  for (const language of [ZH, 'en']) {
    const page = await inside({ language });
    await page.goto('/status');
    const guarantees = page.getByRole('region', { name: word(language, 'guarantee.title'), exact: true });
    const items = guarantees.getByRole('listitem');
    await items.first().waitFor();
    await page.waitForFunction(() => document.querySelectorAll('li p').length > 0);
    for (const item of await items.all()) {
      const codes = await item.locator('code').allInnerTexts();
      const badges = [word(language, 'guarantee.notInForce'), word(language, 'guarantee.inForce')];
      const words = [...codes, ...badges].reduce((text, code) => text.replace(code, ''), await item.innerText());
      assert.ok(words.trim().length > 3, `only codes: ${await item.innerText()}`);
    }
  }
});

test('the status page refreshes by itself', async ({ inside }) => {
  const page = await inside();
  await page.goto('/status');
  const readAt = page.getByText(pattern(ZH, 'status.readAt'));
  const first = await readAt.innerText();
  await page.waitForFunction((text) => !document.body.innerText.includes(text), first);
  assert.match(await readAt.innerText(), /\d{2}:\d{2}:\d{2}/);
});

test(
  'the status page says when the box does not answer, and recovers',
  async ({ inside }) => {
    const page = await inside();
    await page.goto('/status');
    await page.getByRole('region', { name: word(ZH, 'health.title') }).waitFor();
    await page.route('**/api/status', (route) => route.abort());
    await page.getByRole('alert').getByText(word(ZH, 'fault.unreachable.what')).waitFor();
    assert.ok(await page.getByRole('region', { name: word(ZH, 'health.title') }).isVisible(), 'the last picture stays');
    await page.unroute('**/api/status');
    await page.getByRole('alert').waitFor({ state: 'detached' });
  },
  { allow: [/^Failed to load resource: net::ERR_FAILED .*\/api\/status$/] },
);
