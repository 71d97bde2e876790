/** The console's words: one catalogue, typed keys, whole sentences, named placeholders. */

import { useSyncExternalStore } from 'react';
import catalogue from '../../../messages/catalogue/console.json';
import { currentLanguage, onLanguage, type Language } from './language';

export type Key = keyof typeof catalogue;
export type Facts = Readonly<Record<string, string>>;
export type Say = (key: Key, facts?: Facts) => string;

/** Puts facts where their names stand in braces. An unknown name stays visible, so that a test or a person sees it. */
export function fill(pattern: string, facts: Facts = {}): string {
  return pattern.replace(/\{([a-z_]+)\}/g, (whole, name: string) => facts[name] ?? whole);
}

export function say(language: Language, key: Key, facts?: Facts): string {
  return fill(catalogue[key][language], facts);
}

/** The words in the person's language; the component is drawn again when the language changes. */
export function useWords(): { t: Say; language: Language } {
  const language = useSyncExternalStore(onLanguage, currentLanguage);
  return { t: (key, facts) => say(language, key, facts), language };
}
