// A real Chromium, watched: errors on its console, violations of the content security policy, requests to any other
// origin and exceptions of the page are gathered from every page of every test.

import { join } from 'node:path';
import { chromium } from 'playwright-core';

const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

/** A refused session is an answer and not an error of the page, but Chromium writes each one to its console. */
const EXPECTED = [/^Failed to load resource: the server responded with a status of 401 .*\/api\/session$/];

export async function openBrowser(box, key, shots) {
  const browser = await chromium.launch({
    executablePath: process.env.JINGUI_CHROMIUM ?? '/usr/bin/chromium',
    args: key === undefined ? FLAGS : [...FLAGS, `--ignore-certificate-errors-spki-list=${key}`],
  });
  const seen = [];
  let allowed = [];

  const note = (text) => {
    if (![...EXPECTED, ...allowed].some((expected) => expected.test(text))) seen.push(text);
  };

  return {
    /** A page in a profile of its own. `state` carries a session over from another one. */
    async page({ language = 'zh-CN', dark = false, width = 1280, height = 800, state, ...more } = {}) {
      const context = await browser.newContext({
        locale: language === 'zh-CN' ? 'zh-CN' : 'en-US',
        colorScheme: dark ? 'dark' : 'light',
        viewport: { width, height },
        baseURL: box.origin,
        ...(state === undefined ? {} : { storageState: state }),
        ...more,
      });
      await context.exposeBinding('noteViolation', (_, text) => note(`content security policy: ${text}`));
      await context.addInitScript(() => {
        document.addEventListener('securitypolicyviolation', (event) => {
          globalThis.noteViolation(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`);
        });
      });
      const page = await context.newPage();
      page.setDefaultTimeout(20_000);
      page.on('console', (message) => {
        if (message.type() === 'error' || message.type() === 'warning') note(`${message.text()} ${message.location().url}`);
      });
      page.on('pageerror', (error) => note(`exception: ${error.message}`));
      context.on('request', (request) => {
        const url = new URL(request.url());
        if (url.origin !== box.origin && !['data:', 'blob:'].includes(url.protocol)) note(`request to ${request.url()}`);
      });
      return page;
    },
    /** Saves what the person sees, if pictures are wanted. */
    async shot(page, name) {
      if (shots !== undefined) await page.screenshot({ path: join(shots, `${name}.png`) });
    },
    /** What was seen since the last call and must not be. */
    takeSeen: () => seen.splice(0),
    /** Lets messages through that a test provokes, while it runs. */
    allow: (patterns) => {
      allowed = patterns;
    },
    close: () => browser.close(),
  };
}
