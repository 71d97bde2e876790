/** What the model thought before it answered: folded, with its own label, since it is no answer. */

import type { Answer } from '../../chat/answer';
import { decimal } from '../../words/format';
import { useWords } from '../../words/words';
import css from './thinking.module.css';

export function Thinking({ answer }: { answer: Answer }) {
  const { t, language } = useWords();
  const from = answer.firstTokenAt ?? answer.startedAt;
  const label =
    answer.thoughtUntil === undefined
      ? t('chat.thinkingNow')
      : t('chat.thought', { seconds: decimal(language, (answer.thoughtUntil - from) / 1000, 1) });
  return (
    <details className={css.thinking}>
      <summary>{label}</summary>
      <div className={css.text}>
        <p className={css.note}>{t('chat.thinkingNote')}</p>
        <p className={css.reasoning}>{answer.reasoning.trim()}</p>
      </div>
    </details>
  );
}
