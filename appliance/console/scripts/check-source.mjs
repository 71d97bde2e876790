// House rules for the console's sources that the compiler does not hold.

import { dirname, join, relative } from 'node:path';
import { consoleFolder, filesBelow, report } from './files.mjs';

const FORBIDDEN = [
  { pattern: /:\s*any\b|\bas any\b|<any>|\bany\[\]/, why: 'no `any`: parse it or name its type' },
  { pattern: /@ts-(ignore|nocheck|expect-error)/, why: 'the compiler is right' },
  { pattern: /\bstyle=/, why: 'no inline style: the content security policy forbids it' },
  { pattern: /dangerouslySetInnerHTML|innerHTML|outerHTML|insertAdjacentHTML|document\.write/, why: 'no markup from text' },
  { pattern: /\beval\(|new Function\(|setTimeout\(['"`]/, why: 'no code from text' },
  { pattern: /https?:\/\//, why: 'nothing from another host' },
  { pattern: /[\u3400-\u9fff]/, why: 'words belong into the catalogue' },
  { pattern: /['"`]\/(api|v1)\//, why: 'paths are built in src/paths.ts', except: 'src/paths.ts' },
  { pattern: /\bfetch\(/, why: 'calls are made in src/api/client.ts', except: 'src/api/client.ts' },
];

/** Longest file of ours; a longer one has a second subject. */
const LINES_MAX = 200;

const sources = filesBelow(join(consoleFolder, 'src'), ['.ts', '.tsx']).filter(({ path }) => !path.endsWith('schema.d.ts') && !path.includes('.test.'));
const faults = sources.flatMap(({ path, text }) => {
  const name = relative(consoleFolder, path);
  const code = text.replace(/\/\*[\s\S]*?\*\/|(^|\s)\/\/.*$/gm, (comment) => comment.replace(/[^\n]/g, ' '));
  const found = code.split('\n').flatMap((line, index) =>
    FORBIDDEN.filter((rule) => rule.except !== name && rule.pattern.test(line)).map((rule) => `${name}:${index + 1}: ${rule.why}`),
  );
  return code.split('\n').length > LINES_MAX ? [...found, `${name}: more than ${LINES_MAX} lines`] : found;
});
report('source', [...faults, ...moduleFaults()]);

/** A class that a component names must be in its module, and a class of a module must be named by a component. */
function moduleFaults() {
  const named = new Map();
  for (const { path, text } of sources) {
    for (const [, local, file] of text.matchAll(/import (\w+) from '(\.[^']+\.module\.css)'/g)) {
      const module = join(dirname(path), file);
      const classes = [...text.matchAll(new RegExp(`(?<![\\w'./])${local}\\.(\\w+)`, 'g'))].map((match) => match[1]);
      named.set(module, new Set([...(named.get(module) ?? []), ...classes]));
    }
  }
  return filesBelow(join(consoleFolder, 'src'), ['.module.css']).flatMap(({ path, text }) => {
    const name = relative(consoleFolder, path);
    const rules = text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/\{[^{}]*\}/g, '{}');
    const defined = new Set([...rules.matchAll(/\.([a-zA-Z][\w]*)/g)].map((match) => match[1]));
    const used = named.get(path) ?? new Set();
    return [
      ...[...used].filter((one) => !defined.has(one)).map((one) => `${name}: no class ${one}`),
      ...[...defined].filter((one) => !used.has(one)).map((one) => `${name}: nobody names class ${one}`),
    ];
  });
}
