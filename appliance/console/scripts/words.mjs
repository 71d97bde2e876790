// Rules for the catalogue of the console's words. Pure, so that the tests can show that each rule bites.

export const LANGUAGES = ['zh-CN', 'en'];

const CJK = /[\u3400-\u9fff]/;
const HALF_WIDTH = /[\u3400-\u9fff][,;:?!()]|[,;:?!()][\u3400-\u9fff]/;

/** Words that are Chinese in the English catalogue on purpose: the name of the other language, and the legal label. */
const CHINESE_IN_ENGLISH = new Set(['language.other', 'chat.aiNotice', 'chat.copyLabel', 'chat.copyLabelWithId']);
/** Words that are not Chinese in the Chinese catalogue on purpose: the name of the other language, and mere shapes. */
const NOT_CHINESE = new Set(['language.other', 'copy.name']);

/** Faults of the catalogue: each entry has both languages, nothing else, and the same placeholders in both. */
export function catalogueFaults(catalogue) {
  return Object.entries(catalogue).flatMap(([key, entry]) => {
    const faults = [];
    if (Object.keys(entry).sort().join() !== [...LANGUAGES].sort().join()) faults.push(`${key}: must have exactly ${LANGUAGES.join(' and ')}`);
    const [zh = '', en = ''] = LANGUAGES.map((language) => entry[language]);
    if (zh.trim() === '' || en.trim() === '') faults.push(`${key}: a language is empty`);
    if (placeholders(zh).join() !== placeholders(en).join()) faults.push(`${key}: the languages have different placeholders`);
    if (zh === en && /[a-z]/i.test(zh)) faults.push(`${key}: both languages say the same`);
    if (!CJK.test(zh) && !NOT_CHINESE.has(key)) faults.push(`${key}: the Chinese words are not Chinese`);
    if (CJK.test(en) && !CHINESE_IN_ENGLISH.has(key)) faults.push(`${key}: the English words are Chinese`);
    if (HALF_WIDTH.test(zh)) faults.push(`${key}: half-width punctuation beside Chinese`);
    return faults;
  });
}

/** Faults between catalogue and sources: a key that nobody uses, a call without its facts or with unknown ones. */
export function usageFaults(catalogue, sources) {
  const whole = sources.map((source) => source.text).join('\n');
  const unused = Object.keys(catalogue).filter((key) => !whole.includes(`'${key}'`) && !whole.includes(`{{${key} `));
  const calls = sources.flatMap((source) => [...source.text.matchAll(/\bt\('([\w.]+)'(?:, \{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\})?\)/g)]);
  const unequal = calls.flatMap(([, key, facts]) => {
    const entry = catalogue[key];
    if (entry === undefined) return [`${key}: used, but not in the catalogue`];
    const given = [...(facts ?? '').matchAll(/(?:^|,)\s*([a-z_]+)(?=\s*(?::|,|$))/g)].map((match) => match[1]).sort();
    const wanted = placeholders(entry['zh-CN'] ?? '');
    return given.join() === wanted.join() ? [] : [`${key}: wants {${wanted.join(', ')}}, is given {${given.join(', ')}}`];
  });
  return [...unused.map((key) => `${key}: nobody uses it`), ...unequal];
}

export function placeholders(pattern) {
  return [...new Set([...pattern.matchAll(/\{([a-z_]+)\}/g)].map((match) => match[1]))].sort();
}
