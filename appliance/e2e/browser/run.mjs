// A real Chromium uses the console of a running box, as `demo.json` describes it, and judges what it sees.
//
//   JINGUI_DEMO=FILE        the box's demo.json
//   JINGUI_SHOTS=FOLDER     pictures of every page go there (optional)
//   JINGUI_CEREMONY=FILE    a second box that is not set up: base_url, ca_cert, setup_code (optional)
//   JINGUI_CHROMIUM=FILE    the browser, /usr/bin/chromium if not given
//   node run.mjs [TEXT]     only tests whose claim contains TEXT

import { mkdirSync } from 'node:fs';
import { openBrowser } from './lib/browser.mjs';
import { provenKey, readBox } from './lib/box.mjs';
import { runAll } from './lib/suite.mjs';

const demo = process.env.JINGUI_DEMO;
const ceremony = process.env.JINGUI_CEREMONY;
const shots = process.env.JINGUI_SHOTS;
if (demo === undefined && ceremony === undefined) {
  console.error('JINGUI_DEMO must name the demo.json of a running box');
  process.exit(64);
}
if (shots !== undefined) mkdirSync(shots, { recursive: true });

let isGood = true;
if (demo !== undefined) {
  for (const subject of ['sign-in', 'chat', 'pages', 'language', 'people']) await import(`./tests/${subject}.mjs`);
  isGood = await runOn(demo);
} else {
  await import('./tests/ceremony.mjs');
  isGood = await runOn(ceremony);
}
process.exit(isGood ? 0 : 1);

async function runOn(file) {
  const box = readBox(file);
  const key = await provenKey(box).catch((error) => {
    console.error(`the certificate of ${box.origin} does not chain to ca_cert: ${error.message}`);
    process.exit(1);
  });
  const browser = await openBrowser(box, key, shots);
  try {
    return await runAll({ box, browser }, process.argv[2]);
  } finally {
    await browser.close();
  }
}
