/** One big word, and why it is not the best one. */

import type { Health, Status } from '../../api/types';
import { Icon, type IconName } from '../../parts/icon';
import { explain } from '../../words/explain';
import { count } from '../../words/format';
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
      {status.reasons.length === 0 ? (
        <Figures status={status} />
      ) : (
        <ul className={css.reasons}>
          {status.reasons.map((code) => {
            const facts = status.details.find((detail) => detail.code === code)?.facts;
            const reason = explain(words, code, language, facts === undefined ? undefined : Object.fromEntries(facts));
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

/** When there is nothing to explain: the figures a person asks for next. */
function Figures({ status }: { status: Status }) {
  const { t, language } = useWords();
  const inForce = status.guarantees.filter((guarantee) => guarantee.in_force).length;
  const figures: readonly { name: Key; value: string }[] = [
    { name: 'box.serving', value: status.serving?.name ?? t('page.none') },
    { name: 'guarantee.title', value: `${count(language, inForce)} / ${count(language, status.guarantees.length)}` },
    { name: 'audit.size', value: count(language, status.audit.size) },
    { name: 'process.restarts', value: count(language, status.processes.reduce((sum, process) => sum + process.restart_count, 0)) },
  ];
  return (
    <dl className={css.figures}>
      {figures.map((figure) => (
        <div key={figure.name}>
          <dt>{t(figure.name)}</dt>
          <dd>{figure.value}</dd>
        </div>
      ))}
    </dl>
  );
}
