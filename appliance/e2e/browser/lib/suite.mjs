// Tests named as claims, run one after another; each one also claims that the browser saw nothing wrong.

import assert from 'node:assert/strict';
import { sharedSession } from './console.mjs';

const tests = [];

/** `allow` are patterns of messages that the test provokes on purpose. */
export function test(claim, run, { allow = [] } = {}) {
  tests.push({ claim, run, allow });
}

export async function runAll(world, only) {
  let passed = 0;
  const failed = [];
  for (const { claim, run, allow } of tests.filter(({ claim: text }) => only === undefined || text.includes(only))) {
    const startedAt = Date.now();
    world.browser.allow(allow);
    const pages = [];
    const open = async (options) => {
      const page = await world.browser.page(options);
      pages.push(page);
      return page;
    };
    /** A page of somebody who is signed in. */
    const inside = async (options) => open({ state: await sharedSession(world.box, world.browser), ...options });
    try {
      await run({ ...world, open, inside });
      assert.deepEqual(world.browser.takeSeen(), [], 'the browser saw what it must not see');
      passed += 1;
      console.log(`ok      ${claim} (${Date.now() - startedAt} ms)`);
    } catch (error) {
      failed.push(claim);
      console.log(`FAILED  ${claim}\n${indent(error.stack ?? String(error))}`);
      const last = pages[pages.length - 1];
      if (last !== undefined) await world.browser.shot(last, `failed-${failed.length}`).catch(() => undefined);
      world.browser.takeSeen();
    }
    for (const page of pages) await page.context().close();
  }
  console.log(`${passed} passed, ${failed.length} failed`);
  return failed.length === 0 && passed > 0;
}

function indent(text) {
  return text.replace(/^/gm, '        ');
}
