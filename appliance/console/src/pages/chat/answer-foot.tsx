/** Under a finished answer: copy, ask again, what it cost in tokens and time, where it is recorded. */

import type { Answer } from '../../chat/answer';
import { regenerate } from '../../chat/store';
import { Button } from '../../parts/button';
import { Copy } from '../../parts/copy';
import { count, decimal } from '../../words/format';
import type { Language } from '../../words/language';
import { useWords, type Say } from '../../words/words';
import css from './answer-foot.module.css';

export function AnswerFoot({ answer, canRegenerate }: { answer: Answer; canRegenerate: boolean }) {
  const { t, language } = useWords();
  return (
    <footer className={css.foot}>
      <div className={css.actions}>
        {answer.content === '' ? null : <Copy text={labelled(answer, t)} what={t('chat.answer')} />}
        {canRegenerate ? (
          <Button weight="quiet" icon="again" onClick={regenerate}>
            {t('chat.regenerate')}
          </Button>
        ) : null}
      </div>
      <ul className={css.facts} aria-label={t('chat.facts')}>
        {facts(answer, t, language).map((fact) => (
          <li key={fact}>{fact}</li>
        ))}
      </ul>
      {answer.produceId === undefined ? null : (
        <div className={css.produce}>
          <span>
            {t('chat.produceId')} <code translate="no">{answer.produceId}</code>
          </span>
          <Copy text={answer.produceId} what={t('chat.produceId')} />
        </div>
      )}
    </footer>
  );
}

/** A copy leaves the page, so it carries the label that AI wrote it, and the way to its record. */
function labelled(answer: Answer, t: Say): string {
  const label = answer.produceId === undefined ? t('chat.copyLabel') : t('chat.copyLabelWithId', { produce_id: answer.produceId });
  return `${answer.content.trim()}\n\n${label}`;
}

function facts(answer: Answer, t: Say, language: Language): string[] {
  const shown: string[] = [];
  const { usage, startedAt, firstTokenAt, endedAt } = answer;
  if (usage !== undefined) {
    shown.push(t('chat.tokens', { prompt: count(language, usage.prompt_tokens), answer: count(language, usage.completion_tokens) }));
  }
  if (firstTokenAt !== undefined) {
    shown.push(t('chat.firstToken', { seconds: decimal(language, (firstTokenAt - startedAt) / 1000, 2) }));
  }
  if (endedAt !== undefined) {
    shown.push(t('chat.total', { seconds: decimal(language, (endedAt - startedAt) / 1000, 2) }));
    const writing = firstTokenAt === undefined ? 0 : (endedAt - firstTokenAt) / 1000;
    // One token after the first is the least that has a rate.
    if (usage !== undefined && writing > 0 && usage.completion_tokens > 1) {
      shown.push(t('chat.rate', { rate: decimal(language, (usage.completion_tokens - 1) / writing, 0) }));
    }
  }
  return shown;
}
