/** Where the question is written. Enter sends, Shift and Enter begin a new line; not while an input method composes. */

import { useId, useRef, useState, type FormEvent, type KeyboardEvent } from 'react';
import { stopAnswer } from '../../chat/store';
import { Button } from '../../parts/button';
import { useWords } from '../../words/words';
import css from './composer.module.css';

interface ComposerProps {
  isBusy: boolean;
  hasModel: boolean;
  /** Whether the list of models was read: before, it is not known that there is none. */
  isKnown: boolean;
  onAsk: (question: string) => void;
}

export function Composer({ isBusy, hasModel, isKnown, onAsk }: ComposerProps) {
  const { t } = useWords();
  const id = useId();
  const [text, setText] = useState('');
  const input = useRef<HTMLTextAreaElement>(null);
  const isEmpty = text.trim() === '';
  const why = !isKnown ? t('page.loading') : !hasModel ? t('chat.noModel') : isEmpty ? t('chat.writeFirst') : undefined;
  const canSend = why === undefined && !isBusy;

  const submit = (event?: FormEvent) => {
    event?.preventDefault();
    input.current?.focus();
    if (!canSend) return;
    onAsk(text.trim());
    setText('');
  };
  const pressed = (event: KeyboardEvent<HTMLTextAreaElement>) => {
    if (event.key !== 'Enter' || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    submit();
  };

  return (
    <form className={css.composer} onSubmit={submit}>
      <div className={css.box}>
        <label htmlFor={id} className={css.label}>
          {t('chat.question')}
        </label>
        <div className={css.grower} data-text={`${text}\n`}>
          <textarea
            id={id}
            ref={input}
            rows={1}
            value={text}
            autoFocus
            placeholder={t('chat.placeholder')}
            aria-describedby={`${id}-hint`}
            onChange={(event) => setText(event.target.value)}
            onKeyDown={pressed}
          />
        </div>
        {isBusy ? (
          <Button icon="stop" onClick={stopAnswer}>
            {t('chat.stop')}
          </Button>
        ) : (
          <Button weight="main" icon="send" type="submit" aria-disabled={!canSend} title={why}>
            {t('chat.send')}
          </Button>
        )}
      </div>
      <p className={css.notice}>
        <strong lang="zh-CN">{t('chat.aiNotice')}</strong> {t('chat.aiNoticeText')}
        <span id={`${id}-hint`} className={css.hint}>
          {t('chat.keys')}
        </span>
      </p>
    </form>
  );
}
