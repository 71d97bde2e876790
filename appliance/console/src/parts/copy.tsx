/** Copies a text and says that it did. */

import { useEffect, useState } from 'react';
import { useWords } from '../words/words';
import { Button } from './button';
import css from './copy.module.css';

const TOLD_MS = 2000;

interface CopyProps {
  text: string;
  /** What is copied, in words: completes the button's name for readers of the screen. */
  what: string;
}

export function Copy({ text, what }: CopyProps) {
  const { t } = useWords();
  const [outcome, setOutcome] = useState<'none' | 'copied' | 'failed'>('none');

  useEffect(() => {
    if (outcome === 'none') return undefined;
    const timer = setTimeout(() => setOutcome('none'), TOLD_MS);
    return () => clearTimeout(timer);
  }, [outcome]);

  const label = outcome === 'none' ? t('copy.action') : outcome === 'copied' ? t('copy.done') : t('copy.failed');
  return (
    <>
      <Button
        weight="quiet"
        icon={outcome === 'copied' ? 'check' : 'copy'}
        aria-label={t('copy.name', { action: label, what })}
        onClick={() => void copyText(text).then((done) => setOutcome(done ? 'copied' : 'failed'))}
      >
        {label}
      </Button>
      <span className={css.told} role="status">
        {outcome === 'none' ? '' : label}
      </span>
    </>
  );
}

/** The copy command of the page first: the policy of the page may close the clipboard's own call. */
async function copyText(text: string): Promise<boolean> {
  if (copyBySelection(text)) return true;
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

function copyBySelection(text: string): boolean {
  const before = document.activeElement;
  const area = document.createElement('textarea');
  area.className = css.source ?? '';
  area.value = text;
  area.readOnly = true;
  document.body.append(area);
  area.select();
  const done = document.execCommand('copy');
  area.remove();
  if (before instanceof HTMLElement) before.focus();
  return done;
}
