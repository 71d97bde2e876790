/** A last look, the first key, and the act itself. */

import { useState, type FormEvent } from 'react';
import type { Fault } from '../../api/fault';
import type { Person } from '../../enrol/person';
import { Button } from '../../parts/button';
import { Card } from '../../parts/card';
import { Facts } from '../../parts/facts';
import { FaultNotice } from '../../parts/fault-notice';
import { Field } from '../../parts/field';
import { useWords, type Key } from '../../words/words';
import css from './step.module.css';

const OFFICES: readonly Key[] = ['role.system', 'role.security', 'role.audit', 'role.user'];

interface FinishStepProps {
  people: readonly Person[];
  setupCode: string;
  onSetupCode: (code: string) => void;
  fault: Fault | undefined;
  onFinish: (keyLabel: string) => Promise<void>;
  /** Begin again with the first person. */
  onAgain: () => void;
}

export function FinishStep({ people, setupCode, onSetupCode, fault, onFinish, onAgain }: FinishStepProps) {
  const { t } = useWords();
  const [keyLabel, setKeyLabel] = useState('');
  const [isBusy, setIsBusy] = useState(false);
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (isBusy) return;
    setIsBusy(true);
    await onFinish(keyLabel.trim());
    setIsBusy(false);
  };
  return (
    <Card title={t('setup.finish.title')}>
      <Facts facts={people.map((person, index) => ({ name: t(OFFICES[index] ?? 'role.user'), value: person.username }))} />
      <p>{t('setup.finish.text')}</p>
      <form className={css.form} onSubmit={(event) => void submit(event)}>
        {fault === undefined ? null : (
          <>
            <FaultNotice fault={fault} />
            <Field label={t('setup.start.code')} value={setupCode} onText={onSetupCode} required maxLength={128} autoComplete="off" spellCheck={false} />
          </>
        )}
        <Field label={t('setup.finish.key')} hint={t('setup.finish.keyHint')} value={keyLabel} onText={setKeyLabel} maxLength={64} autoComplete="off" />
        <div className={css.actions}>
          <Button weight="main" type="submit" aria-disabled={isBusy}>
            {isBusy ? t('setup.finish.busy') : t('setup.finish.action')}
          </Button>
          <Button onClick={onAgain}>{t('setup.finish.again')}</Button>
        </div>
      </form>
    </Card>
  );
}
