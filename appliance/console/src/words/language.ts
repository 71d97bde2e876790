/** Which of the two languages the page speaks. Remembered on this computer; every request names it to the gateway. */

export type Language = 'zh-CN' | 'en';

const STORAGE_KEY = 'jingui.language';

/** Chinese first: English only for a person who chose it, or whose browser asks for another language than Chinese. */
export function chooseLanguage(remembered: string | null, wanted: readonly string[]): Language {
  if (remembered === 'zh-CN' || remembered === 'en') return remembered;
  const first = wanted[0];
  return first === undefined || first.toLowerCase().startsWith('zh') ? 'zh-CN' : 'en';
}

let language: Language = chooseLanguage(recall(), typeof navigator === 'undefined' ? [] : navigator.languages);
const listeners = new Set<() => void>();

export function currentLanguage(): Language {
  return language;
}

export function setLanguage(next: Language): void {
  language = next;
  try {
    localStorage.setItem(STORAGE_KEY, next);
  } catch {
    // Storage is closed to us: the choice holds until the page is left.
  }
  listeners.forEach((listener) => listener());
}

export function onLanguage(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function recall(): string | null {
  try {
    return localStorage.getItem(STORAGE_KEY);
  } catch {
    return null;
  }
}
