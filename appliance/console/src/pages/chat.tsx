/** The chat: question, thinking folded, answer as it comes, and where the answer is recorded. */

import { useEffect, useRef, useSyncExternalStore } from 'react';
import { readModels } from '../api/client';
import { isRunning } from '../chat/answer';
import { ask, changeSettings, currentConversation, onConversation, startAnew } from '../chat/store';
import { Announcer } from '../parts/announcer';
import { Button } from '../parts/button';
import { FaultNotice } from '../parts/fault-notice';
import { usePolled } from '../parts/use-polled';
import { pages } from '../paths';
import { Link } from '../router';
import { useWords } from '../words/words';
import { Composer } from './chat/composer';
import { Settings } from './chat/settings';
import { TurnView } from './chat/turn';
import { Welcome } from './chat/welcome';
import css from './chat.module.css';

const REFRESH_MS = 5000;
/** A person this near to the end follows the stream; one who scrolled up is left where they are. */
const FOLLOW_PX = 80;

export function ChatPage() {
  const { t } = useWords();
  const { turns, settings, isRunning: isBusy } = useSyncExternalStore(onConversation, currentConversation);
  const { value: models, fault } = usePolled(readModels, REFRESH_MS);
  const serving = (models?.data ?? []).filter((model) => model.state === 'serving').map((model) => model.name);
  const chosen = serving.includes(settings.model) ? settings.model : serving[0];
  const scroller = useFollowedScroll(turns, turns.length);
  const last = turns[turns.length - 1];

  useEffect(() => {
    if (chosen !== undefined && chosen !== settings.model) changeSettings({ model: chosen });
  }, [chosen, settings.model]);

  return (
    <div className={css.page}>
      <div className={css.bar}>
        <h1>{t('chat.title')}</h1>
        <Settings settings={settings} models={serving} />
        <Button icon="plus" aria-disabled={turns.length === 0} title={turns.length === 0 ? t('chat.newNothing') : undefined} onClick={startAnew}>
          {t('chat.new')}
        </Button>
      </div>
      <div className={css.scroller} ref={scroller} role="region" aria-label={t('chat.log')} tabIndex={0}>
        {fault === undefined ? null : <FaultNotice fault={fault} />}
        {turns.length === 0 ? (
          <Welcome model={chosen} />
        ) : (
          <ol className={css.turns}>
            {turns.map((turn) => (
              <TurnView key={turn.id} turn={turn} isLast={turn === last} isBusy={isBusy} />
            ))}
          </ol>
        )}
      </div>
      {last === undefined ? null : <Announcer key={last.id} text={last.answer.content} isComplete={!isRunning(last.answer)} />}
      {models !== undefined && chosen === undefined ? (
        <p className={css.noModel} role="status">
          {t('chat.noModel')} <Link to={pages.status}>{t('chat.toStatus')}</Link>
        </p>
      ) : null}
      <Composer isBusy={isBusy} hasModel={chosen !== undefined} isKnown={models !== undefined} onAsk={(question) => void ask(question)} />
    </div>
  );
}

function useFollowedScroll(changed: unknown, turnCount: number) {
  const scroller = useRef<HTMLDivElement>(null);
  const follows = useRef(true);

  // A new question is always shown, wherever the person was reading.
  useEffect(() => {
    follows.current = true;
  }, [turnCount]);

  useEffect(() => {
    const element = scroller.current;
    if (element === null) return undefined;
    const note = () => {
      follows.current = element.scrollHeight - element.scrollTop - element.clientHeight < FOLLOW_PX;
    };
    element.addEventListener('scroll', note, { passive: true });
    return () => element.removeEventListener('scroll', note);
  }, []);

  useEffect(() => {
    const element = scroller.current;
    if (element !== null && follows.current) element.scrollTop = element.scrollHeight;
  }, [changed]);

  return scroller;
}
