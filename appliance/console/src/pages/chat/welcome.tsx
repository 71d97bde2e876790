/** Before the first question: who will answer, and what happens to what is typed. */

import { Icon, type IconName } from '../../parts/icon';
import { useWords, type Key } from '../../words/words';
import css from './welcome.module.css';

const PROMISES: readonly { icon: IconName; text: Key }[] = [
  { icon: 'shield', text: 'chat.promiseSigned' },
  { icon: 'model', text: 'chat.promiseInside' },
  { icon: 'check', text: 'chat.promiseRecord' },
];

export function Welcome({ model }: { model: string | undefined }) {
  const { t } = useWords();
  return (
    <div className={css.welcome}>
      <h2>{t('chat.welcome')}</h2>
      {model === undefined ? null : <p>{t('chat.answeredBy', { model })}</p>}
      <ul className={css.promises}>
        {PROMISES.map((promise) => (
          <li key={promise.text}>
            <Icon name={promise.icon} />
            {t(promise.text)}
          </li>
        ))}
      </ul>
    </div>
  );
}
