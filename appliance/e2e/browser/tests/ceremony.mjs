import assert from 'node:assert/strict';
import { fillSignIn, word } from '../lib/console.mjs';
import { test } from '../lib/suite.mjs';
import { codeAt, freshCode, STEP_MS } from '../lib/totp.mjs';

const ZH = 'zh-CN';
const PASSWORD = 'Correct-horse-27';

async function takeOffice(page, username, { stepsOff = 0 } = {}) {
  const secret = (await page.getByRole('region', { name: word(ZH, 'setup.secret') }).locator('code').innerText()).replace(/\s/g, '');
  assert.match(secret, /^[A-Z2-7]{32}$/);
  await page.getByRole('img', { name: word(ZH, 'setup.qr') }).waitFor();
  await page.getByLabel(word(ZH, 'setup.username')).fill(username);
  await page.getByLabel(word(ZH, 'setup.password'), { exact: true }).fill(PASSWORD);
  await page.getByLabel(word(ZH, 'setup.repeat')).fill(PASSWORD);
  await page.getByLabel(word(ZH, 'setup.code'), { exact: true }).fill(codeAt(secret, Math.floor(Date.now() / STEP_MS) + stepsOff));
  await page.keyboard.press('Enter');
  return { username, password: PASSWORD, totp_secret: secret };
}

test(
  'three people set the box up at the console, and the first key is shown once',
  async ({ box, browser, open }) => {
    const page = await open();
    await page.goto('/');
    await page.getByRole('heading', { level: 1, name: word(ZH, 'setup.title') }).waitFor();
    assert.equal(new URL(page.url()).pathname, '/setup');
    await browser.shot(page, 'setup-start-zh');
    await page.getByLabel(word(ZH, 'setup.start.code')).fill('wrong-code');
    await page.keyboard.press('Enter');

    const people = [await takeOffice(page, 'xitong')];
    await page.getByRole('heading', { name: word(ZH, 'setup.person.title', { role: word(ZH, 'role.security') }) }).waitFor();
    await takeOffice(page, 'XITONG', { stepsOff: 10 });
    await page.getByText(word(ZH, 'setup.nameTaken')).waitFor();
    await page.getByText(word(ZH, 'setup.code.clock', { minutes: '5' })).waitFor();
    await browser.shot(page, 'setup-person-zh');
    people.push(await takeOffice(page, 'anquan'));
    await page.getByRole('heading', { name: word(ZH, 'setup.person.title', { role: word(ZH, 'role.audit') }) }).waitFor();
    people.push(await takeOffice(page, 'shenji'));
    await page.getByRole('heading', { name: word(ZH, 'setup.user.title') }).waitFor();
    people.push(await takeOffice(page, 'yuangong'));

    await page.getByLabel(word(ZH, 'setup.finish.key')).fill('办公系统');
    const finish = page.getByRole('button', { name: word(ZH, 'setup.finish.action') });
    await finish.click();
    await page.getByRole('alert').waitFor();
    await page.getByLabel(word(ZH, 'setup.start.code')).fill(box.setup_code);
    await finish.click();
    await page.getByRole('heading', { name: word(ZH, 'setup.done.title') }).waitFor();
    assert.match(await page.getByRole('region', { name: word(ZH, 'setup.done.key') }).locator('code').innerText(), /^\w+\.\w{32,}$/);
    await browser.shot(page, 'setup-done-zh');
    await page.getByRole('checkbox', { name: word(ZH, 'setup.done.kept') }).check();
    await page.getByRole('button', { name: word(ZH, 'setup.done.toSignIn') }).click();

    for (const person of people) {
      await fillSignIn(page, ZH, { ...person, code: await freshCode(person) });
      await page.keyboard.press('Enter');
      await page.getByRole('button', { name: word(ZH, 'session.signOut') }).click();
      await page.getByRole('button', { name: word(ZH, 'signin.action'), exact: true }).waitFor();
    }
    await page.goto('/setup');
    await page.getByRole('button', { name: word(ZH, 'signin.action'), exact: true }).waitFor();
  },
  { allow: [/status of 4\d\d .*\/api\/(setup|models|status)$/] },
);
