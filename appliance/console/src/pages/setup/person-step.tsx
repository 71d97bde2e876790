/** One of the three admins takes office. */

import type { AdminRole } from '../../api/types';
import type { Person } from '../../enrol/person';
import { Card } from '../../parts/card';
import { useWords, type Key } from '../../words/words';
import { PersonForm } from './person-form';

const OFFICES: Record<AdminRole, { name: Key; text: Key }> = {
  system: { name: 'role.system', text: 'setup.office.system' },
  security: { name: 'role.security', text: 'setup.office.security' },
  audit: { name: 'role.audit', text: 'setup.office.audit' },
};

interface PersonStepProps {
  office: AdminRole;
  taken: readonly string[];
  onDone: (person: Person) => void;
}

export function PersonStep({ office, taken, onDone }: PersonStepProps) {
  const { t } = useWords();
  return (
    <Card title={t('setup.person.title', { role: t(OFFICES[office].name) })}>
      <p>{t(OFFICES[office].text)}</p>
      <p>{t('setup.person.turn')}</p>
      <PersonForm taken={taken} onDone={onDone} />
    </Card>
  );
}
