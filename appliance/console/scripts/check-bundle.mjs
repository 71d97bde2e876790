// What was built: nothing that Chromium 86 lacks, nothing that the content security policy forbids, within the budget.

import { join, relative } from 'node:path';
import { gzipSync } from 'node:zlib';
import { consoleFolder, filesBelow, report } from './files.mjs';

/** All script of the console, compressed. */
const SCRIPT_BYTES_MAX = 250 * 1000;

/** CSS after Chromium 86. Each was tried there or has its version in the comment. */
const CSS_TOO_NEW = [
  [/:has\(/, ':has'],
  [/:where\(/, ':where'],
  [/:is\(/, ':is (88)'],
  [/:not\([^)]*,/, ':not with a list (88)'],
  [/[{;]\s*aspect-ratio:/, 'aspect-ratio'],
  [/[{;]\s*inset(-block|-inline)?:/, 'inset'],
  [/[{;]\s*(margin|padding)-(inline|block):/, 'logical shorthands (87)'],
  [/[{;]\s*accent-color:/, 'accent-color'],
  [/[{;]\s*(translate|scale|rotate):/, 'single transforms (104)'],
  [/[{;]\s*text-wrap:/, 'text-wrap (114)'],
  [/[{;]\s*scrollbar-(gutter|color|width):/, 'scrollbar properties (94, 121)'],
  [/[{;]\s*field-sizing:/, 'field-sizing (123)'],
  [/overflow(-[xy])?:\s*clip/, 'overflow: clip (90)'],
  [/\d(dvh|svh|lvh|dvw|svw|lvw|cqw|cqh|lh|rlh)\b/, 'new length units'],
  [/@layer|@container|@scope|@starting-style|@supports selector/, 'new at-rules'],
  [/\b(oklch|oklab|lch|lab|hwb|color-mix|light-dark)\(/, 'new colours'],
  [/@media[^{]*[<>]/, 'range media queries (104)'],
  [/[{;]\s*&/, 'nesting'],
];

/** Library functions after Chromium 86, in our own words; the compiler's library list holds most of them back already. */
const SCRIPT_TOO_NEW = [
  [/\bstructuredClone\(/, 'structuredClone'],
  [/crypto\.randomUUID/, 'crypto.randomUUID'],
  [/AbortSignal\.(timeout|any)\(/, 'AbortSignal.timeout'],
  [/Object\.hasOwn\(/, 'Object.hasOwn'],
  [/\.(findLast|toSorted|toReversed|replaceChildren)\(/, 'new list functions'],
];

const FOREIGN = /\b(?:src|href)="(?:https?:)?\/\/|url\(\s*["']?(?:https?:)?\/\/|@import/;

const dist = join(consoleFolder, 'dist');
const files = filesBelow(dist, ['.css', '.js', '.html']);
const faults = files.flatMap(({ path, text }) => {
  const name = relative(dist, path);
  const rules = path.endsWith('.css') ? CSS_TOO_NEW : path.endsWith('.js') ? SCRIPT_TOO_NEW : [];
  const found = rules.filter(([pattern]) => pattern.test(text)).map(([, what]) => `${name}: Chromium 86 lacks ${what}`);
  if (!path.endsWith('.js') && FOREIGN.test(text)) found.push(`${name}: names another host`);
  if (path.endsWith('.html') && /<style|<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=/.test(text)) found.push(`${name}: inline script or style`);
  return found;
});

const scripts = files.filter(({ path }) => path.endsWith('.js'));
const size = scripts.reduce((sum, { text }) => sum + gzipSync(text, { level: 9 }).length, 0);
if (scripts.length === 0) faults.push('nothing was built');
if (size > SCRIPT_BYTES_MAX) faults.push(`${size} bytes of compressed script, at most ${SCRIPT_BYTES_MAX}`);
console.log(`bundle: ${size} bytes of compressed script in ${scripts.length} files, at most ${SCRIPT_BYTES_MAX}`);
report('bundle', faults);
