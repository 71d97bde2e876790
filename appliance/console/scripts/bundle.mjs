// Rules for what is built: nothing that Chromium 86 lacks, nothing that the content security policy forbids. Pure, so
// that the tests can show that each rule bites.

/** CSS after Chromium 86, with the version that brought it; those without one were tried in the engine itself. */
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

const INLINE = /<style|<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=/;

/** What is wrong with one built file, by the end of its name. */
export function fileFaults(name, text) {
  const rules = name.endsWith('.css') ? CSS_TOO_NEW : name.endsWith('.js') ? SCRIPT_TOO_NEW : [];
  const found = rules.filter(([pattern]) => pattern.test(text)).map(([, what]) => `${name}: Chromium 86 lacks ${what}`);
  if (!name.endsWith('.js') && FOREIGN.test(text)) found.push(`${name}: names another host`);
  if (name.endsWith('.html') && INLINE.test(text)) found.push(`${name}: inline script or style`);
  return found;
}
