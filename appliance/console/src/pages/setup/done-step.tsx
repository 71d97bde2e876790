/** The box is set up. The first key and the recovery key are shown here and never again. */

import { useState } from 'react';
import type { SetUpDone } from '../../api/types';
import { Badge } from '../../parts/badge';
import { Button } from '../../parts/button';
import { Card } from '../../parts/card';
import { Copy } from '../../parts/copy';
import { pages } from '../../paths';
import { navigate } from '../../router';
import { becomeSetUp } from '../../session';
import { count } from '../../words/format';
import { useWords } from '../../words/words';
import { RecoveryKey } from './recovery-key';
import css from './step.module.css';

export function DoneStep({ done }: { done: SetUpDone }) {
  const { t, language } = useWords();
  const [isKept, setIsKept] = useState(false);
  const hasKey = typeof done.first_key === 'string' || typeof done.recovery_key === 'string';
  const leave = () => {
    if (hasKey && !isKept) return;
    becomeSetUp();
    navigate(pages.signIn, 'replace');
  };
  return (
    <Card title={t('setup.done.title')} aside={<Badge tone="good">{t('setup.done.badge')}</Badge>}>
      <p role="status">{t('setup.done.text', { leaf: count(language, done.leaf_index) })}</p>
      {typeof done.first_key === 'string' ? (
        <section className={css.key} aria-label={t('setup.done.key')}>
          <p>{t('setup.done.keyText')}</p>
          <code translate="no">{done.first_key}</code>
          <Copy text={done.first_key} what={t('setup.done.key')} />
        </section>
      ) : null}
      {typeof done.recovery_key === 'string' ? <RecoveryKey value={done.recovery_key} /> : null}
      {hasKey ? (
        <label>
          <input type="checkbox" checked={isKept} onChange={(event) => setIsKept(event.target.checked)} /> {t('setup.done.kept')}
        </label>
      ) : null}
      <div className={css.actions}>
        <Button weight="main" aria-disabled={hasKey && !isKept} title={hasKey && !isKept ? t('setup.done.keepFirst') : undefined} onClick={leave}>
          {t('setup.done.toSignIn')}
        </Button>
      </div>
    </Card>
  );
}
