/**
 * Words for stable codes (reasons of the health, guarantees and why one is not in force), from the catalogue that
 * console, command line and API share. Loaded only by the pages that need them. A code without words is shown itself.
 */

import { fill, type Facts } from './words';
import type { Language } from './language';

export interface Explanation {
  /** What it is or what happened, in a sentence. */
  what: string;
  why?: string;
  remedy?: string;
}

type Catalogue = Readonly<Record<string, unknown>>;

const files = import.meta.glob<Catalogue>(
  ['../../../messages/catalogue/{guarantee,system,engine,audit,model}.json'],
  { import: 'default' },
);

/** All entries by code. */
export async function loadExplanations(): Promise<Catalogue> {
  const loaded = await Promise.all(Object.values(files).map((load) => load()));
  return Object.assign({}, ...loaded) as Catalogue;
}

export function explain(catalogue: Catalogue, code: string, language: Language, facts?: Facts): Explanation | undefined {
  const entry = field(catalogue[code], language);
  if (typeof entry === 'string') return { what: fill(entry, facts) };
  const what = field(entry, 'what');
  if (typeof what !== 'string') return undefined;
  const why = field(entry, 'why');
  const remedy = field(entry, 'do');
  return {
    what: fill(what, facts),
    ...(typeof why === 'string' ? { why: fill(why, facts) } : {}),
    ...(typeof remedy === 'string' ? { remedy: fill(remedy, facts) } : {}),
  };
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}
