/** The rules for a password, each ticked off while it is typed. */

import type { PasswordChecks } from '../../enrol/person';
import { Icon } from '../../parts/icon';
import { useWords, type Key } from '../../words/words';
import css from './password-checklist.module.css';

export function PasswordChecklist({ checks }: { checks: PasswordChecks }) {
  const { t } = useWords();
  const rules: readonly { holds: boolean; text: Key }[] = [
    { holds: checks.isLongEnough, text: 'setup.rule.length' },
    { holds: checks.hasClasses, text: 'setup.rule.classes' },
    { holds: checks.isNotTheName, text: 'setup.rule.name' },
  ];
  return (
    <ul className={css.rules} aria-label={t('setup.rules')}>
      {rules.map((rule) => (
        <li key={rule.text} className={rule.holds ? css.holds : undefined}>
          <Icon name={rule.holds ? 'check' : 'ring'} />
          {t(rule.text)}
          <span className={css.state}>{rule.holds ? t('setup.rule.met') : t('setup.rule.open')}</span>
        </li>
      ))}
    </ul>
  );
}
