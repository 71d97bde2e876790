/** Model output, which nobody vouches for: text and lines, code in code type. Never markup, never a link. */

import { splitFences } from '../../chat/text';
import { useWords } from '../../words/words';
import css from './plain-text.module.css';

export function PlainText({ text }: { text: string }) {
  const { t } = useWords();
  return (
    <>
      {splitFences(text).map((piece, index) =>
        piece.kind === 'code' ? (
          <figure key={index} className={css.code} aria-label={t('chat.code', { language: piece.language })}>
            {piece.language === '' ? null : <figcaption translate="no">{piece.language}</figcaption>}
            <pre tabIndex={0}>
              <code translate="no">{piece.text}</code>
            </pre>
          </figure>
        ) : (
          <p key={index} className={css.text}>
            {piece.text}
          </p>
        ),
      )}
    </>
  );
}
