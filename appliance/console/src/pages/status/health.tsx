/** One big word, and why it is not the best one. */

import type { Health, Status } from '../../api/types';
import { Icon, type IconName } from '../../parts/icon';
import { explain } from '../../words/explain';
import { useWords, type Key } from '../../words/words';
import css from './health.module.css';

const WORDS: Record<Health, { word: Key; text: Key; icon: IconName }> = {
  ok: { word: 'health.ok', text: 'health.okText', icon: 'check' },
  starting: { word: 'health.starting', text: 'health.startingText', icon: 'clock' },
  degraded: { word: 'health.degraded', text: 'health.degradedText', icon: 'alert' },
  stopped: { word: 'health.stopped', text: 'health.stoppedText', icon: 'stop' },
};

export function HealthBanner({ status, words }: { status: Status; words: Readonly<Record<string, unknown>> }) {
  const { t, language } = useWords();
  const tones: Record<Health, string | undefined> = { ok: css.ok, starting: css.starting, degraded: css.degraded, stopped: css.stopped };
  const shown = WORDS[status.health];
  return (
    <section className={`${css.banner} ${tones[status.health]}`} aria-label={t('health.title')}>
      <span className={css.sign}>
        <Icon name={shown.icon} />
      </span>
      <div role="status">
        <p className={css.word}>{t(shown.word)}</p>
        <p>{t(shown.text)}</p>
      </div>
      {status.reasons.length === 0 ? null : (
        <ul className={css.reasons}>
          {status.reasons.map((code) => {
            const reason = explain(words, code, language);
            return (
              <li key={code}>
                {reason === undefined ? null : (
                  <>
                    <strong>{reason.what}</strong> {reason.why} {reason.remedy}{' '}
                  </>
                )}
                <code translate="no">{code}</code>
              </li>
            );
          })}
        </ul>
      )}
    </section>
  );
}
