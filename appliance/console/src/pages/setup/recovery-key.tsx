/** The key that opens the encrypted state when the TPM would not: shown once, to be printed or written down. */

import { Button } from '../../parts/button';
import { useWords } from '../../words/words';
import css from './step.module.css';

export function RecoveryKey({ value }: { value: string }) {
  const { t } = useWords();
  return (
    <section className={css.key} aria-label={t('setup.done.recovery')}>
      <h3>{t('setup.done.recovery')}</h3>
      <p>{t('setup.done.recoveryText')}</p>
      <code translate="no">{value}</code>
      <Button onClick={() => window.print()}>{t('setup.done.print')}</Button>
    </section>
  );
}
