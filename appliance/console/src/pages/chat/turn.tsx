/** A question and its answer. */

import { memo } from 'react';
import { isRunning, type Answer } from '../../chat/answer';
import type { Turn } from '../../chat/request';
import { Badge } from '../../parts/badge';
import { FaultNotice } from '../../parts/fault-notice';
import { count } from '../../words/format';
import { useWords, type Key } from '../../words/words';
import { AnswerFoot } from './answer-foot';
import { PlainText } from './plain-text';
import { Thinking } from './thinking';
import { ToolCalls } from './tool-calls';
import css from './turn.module.css';

interface TurnProps {
  turn: Turn;
  isLast: boolean;
  /** Whether some answer is being made: then none can be asked for again. */
  isBusy: boolean;
}

/** Drawn again only when its own turn changes, so that a long conversation streams as fast as a short one. */
export const TurnView = memo(function TurnView({ turn, isLast, isBusy }: TurnProps) {
  const { t, language } = useWords();
  const { answer } = turn;
  return (
    <li className={css.turn}>
      <section className={css.question} aria-label={t('chat.you')}>
        {turn.question}
      </section>
      <section className={css.answer} aria-label={t('chat.answer')} aria-busy={isRunning(answer)}>
        <p className={css.author}>
          {t('chat.model')} <span className={css.label}>{t('chat.aiLabel')}</span>
        </p>
        {answer.reasoning === '' ? null : <Thinking answer={answer} />}
        {answer.phase === 'waiting' ? (
          <p className={css.waiting} role="status">
            {answer.ahead === undefined ? t('chat.waiting') : t('chat.queued', { count: count(language, answer.ahead) })}
          </p>
        ) : null}
        <PlainText text={answer.content} />
        {answer.toolCalls.length === 0 ? null : <ToolCalls calls={answer.toolCalls} />}
        <Ending answer={answer} />
        {isRunning(answer) ? null : <AnswerFoot answer={answer} canRegenerate={isLast && !isBusy} />}
      </section>
    </li>
  );
});

/** Why the answer ended, when it did not end by itself. */
function Ending({ answer }: { answer: Answer }) {
  const { t } = useWords();
  if (answer.phase === 'failed' && answer.fault !== undefined) return <FaultNotice fault={answer.fault} />;
  const note: Key | undefined = answer.phase === 'stopped' ? 'chat.stopped' : answer.finish === 'length' ? 'chat.tooLong' : undefined;
  return note === undefined ? null : (
    <p>
      <Badge tone="warn" icon="stop">
        {t(note)}
      </Badge>
    </p>
  );
}
