/** The first ordinary user, if one is wanted now. */

import type { Person } from '../../enrol/person';
import { Button } from '../../parts/button';
import { Card } from '../../parts/card';
import { useWords } from '../../words/words';
import { PersonForm } from './person-form';
import css from './step.module.css';

interface UserStepProps {
  taken: readonly string[];
  onDone: (person: Person | undefined) => void;
}

export function UserStep({ taken, onDone }: UserStepProps) {
  const { t } = useWords();
  return (
    <Card title={t('setup.user.title')}>
      <p>{t('setup.user.text')}</p>
      <div className={css.actions}>
        <Button onClick={() => onDone(undefined)}>{t('setup.user.skip')}</Button>
      </div>
      <PersonForm taken={taken} onDone={onDone} />
    </Card>
  );
}
