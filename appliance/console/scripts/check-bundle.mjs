// What was built: nothing that Chromium 86 lacks, nothing that the content security policy forbids, within the budget.

import { join, relative } from 'node:path';
import { gzipSync } from 'node:zlib';
import { fileFaults } from './bundle.mjs';
import { consoleFolder, filesBelow, report } from './files.mjs';

/** All script of the console, compressed. */
const SCRIPT_BYTES_MAX = 250 * 1000;

const dist = join(consoleFolder, 'dist');
const files = filesBelow(dist, ['.css', '.js', '.html']);
const faults = files.flatMap(({ path, text }) => fileFaults(relative(dist, path), text));
const scripts = files.filter(({ path }) => path.endsWith('.js'));
const size = scripts.reduce((sum, { text }) => sum + gzipSync(text, { level: 9 }).length, 0);
if (scripts.length === 0) faults.push('nothing was built');
if (size > SCRIPT_BYTES_MAX) faults.push(`${size} bytes of compressed script, at most ${SCRIPT_BYTES_MAX}`);
console.log(`bundle: ${size} bytes of compressed script in ${scripts.length} files, at most ${SCRIPT_BYTES_MAX}`);
report('bundle', faults);
