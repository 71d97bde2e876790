import { describe, expect, it } from 'vitest';
import catalogue from '../../../messages/catalogue/console.json';
import { catalogueFaults, placeholders, usageFaults } from '../../scripts/words.mjs';
import { explain } from './explain';
import { chooseLanguage } from './language';
import { fill, say, type Key } from './words';

describe('the catalogue', () => {
  it('is whole and equal in both languages', () => {
    expect(catalogueFaults(catalogue)).toEqual([]);
  });

  it('with a fault is refused', () => {
    const faulty = {
      'a.missing': { 'zh-CN': '有' },
      'a.empty': { 'zh-CN': '有', en: ' ' },
      'a.unequal': { 'zh-CN': '{count} 个', en: '{total} of them' },
      'a.same': { 'zh-CN': 'Same', en: 'Same' },
      'a.untranslated': { 'zh-CN': 'English', en: 'Other' },
      'a.chinese': { 'zh-CN': '有', en: '有' },
      'a.half': { 'zh-CN': '一,二', en: 'one, two' },
    };
    const faults = catalogueFaults(faulty);
    for (const key of Object.keys(faulty)) expect(faults.some((fault) => fault.startsWith(`${key}:`)), key).toBe(true);
  });

  it('is used as a whole, and every use fits', () => {
    const words = { 'a.used': { 'zh-CN': '{count} 个', en: '{count}' }, 'a.unused': { 'zh-CN': '无', en: 'none' } };
    const source = (text: string) => [{ path: 'x', text }];
    expect(usageFaults(words, source("t('a.used', { count: f(1, { a: 2 }) })"))).toEqual(['a.unused: nobody uses it']);
    expect(usageFaults(words, source("'a.unused' t('a.used')"))).toHaveLength(1);
    expect(usageFaults(words, source("'a.unused' t('a.used', { total })"))).toHaveLength(1);
    expect(usageFaults(words, source("'a.unused' 'a.used' t('a.absent')"))).toHaveLength(1);
  });

  it('says every entry with its facts put in', () => {
    for (const key of Object.keys(catalogue) as Key[]) {
      const facts = Object.fromEntries(placeholders(catalogue[key].en).map((name: string) => [name, 'FACT']));
      for (const language of ['zh-CN', 'en'] as const) expect(say(language, key, facts)).not.toMatch(/[{}]/);
    }
  });
});

describe('a fact', () => {
  it('that is unknown stays visible as a gap', () => {
    expect(fill('{a} and {b}', { a: '1' })).toBe('1 and {b}');
  });

  it('that looks like a placeholder is not filled again', () => {
    expect(fill('{a}{b}', { a: '{b}', b: 'x' })).toBe('{b}x');
  });
});

describe('an explanation', () => {
  const words = {
    'engine.crashed': { 'zh-CN': { what: '推理进程退出。', why: '原因 {signal}', do: '等待。' }, en: { what: 'It ended.', why: 'By {signal}', do: 'Wait.' } },
    'engine.seccomp': { 'zh-CN': '过滤系统调用', en: 'System calls are filtered' },
  };

  it('has its parts in the language asked for', () => {
    expect(explain(words, 'engine.crashed', 'en', { signal: '9' })).toEqual({ what: 'It ended.', why: 'By 9', remedy: 'Wait.' });
    expect(explain(words, 'engine.seccomp', 'zh-CN')).toEqual({ what: '过滤系统调用' });
  });

  it('is absent for a code without words', () => {
    expect(explain(words, 'no.such', 'en')).toBeUndefined();
    expect(explain({ 'no.such': 7 }, 'no.such', 'en')).toBeUndefined();
  });
});

describe('the language', () => {
  it('is the remembered one, else Chinese unless the browser asks for another', () => {
    expect(chooseLanguage('en', ['zh-CN'])).toBe('en');
    expect(chooseLanguage('zh-CN', ['en-US'])).toBe('zh-CN');
    expect(chooseLanguage(null, ['zh-TW', 'en'])).toBe('zh-CN');
    expect(chooseLanguage(null, ['de-DE', 'zh'])).toBe('en');
    expect(chooseLanguage('xx', [])).toBe('zh-CN');
  });
});
