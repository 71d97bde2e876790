/** What will happen, and the code that only somebody at the box can read. */

import { useState, type FormEvent } from 'react';
import { Button } from '../../parts/button';
import { Card } from '../../parts/card';
import { Field } from '../../parts/field';
import { useWords } from '../../words/words';
import css from './step.module.css';

export function StartStep({ code, onDone }: { code: string; onDone: (code: string) => void }) {
  const { t } = useWords();
  const [typed, setTyped] = useState(code);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    onDone(typed.trim());
  };
  return (
    <Card title={t('setup.start.title')}>
      <ul className={css.points}>
        <li>{t('setup.start.people')}</li>
        <li>{t('setup.start.phones')}</li>
        <li>{t('setup.start.once')}</li>
      </ul>
      <form className={css.form} onSubmit={submit}>
        <Field
          label={t('setup.start.code')}
          hint={t('setup.start.codeHint')}
          value={typed}
          onText={setTyped}
          required
          autoFocus
          maxLength={128}
          spellCheck={false}
          autoComplete="off"
          autoCapitalize="off"
        />
        <div className={css.actions}>
          <Button weight="main" type="submit">
            {t('setup.next')}
          </Button>
        </div>
      </form>
    </Card>
  );
}
