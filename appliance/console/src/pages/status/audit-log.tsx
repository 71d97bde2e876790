/** State of the audit log, and what an auditor takes home to check it. */

import type { AuditState } from '../../api/types';
import { Badge } from '../../parts/badge';
import { Card } from '../../parts/card';
import { Digest } from '../../parts/digest';
import { Facts } from '../../parts/facts';
import { count } from '../../words/format';
import { useWords } from '../../words/words';

export function AuditLog({ audit }: { audit: AuditState }) {
  const { t, language } = useWords();
  const state = audit.is_writable ? <Badge tone="good">{t('audit.writable')}</Badge> : <Badge tone="bad">{t('audit.notWritable')}</Badge>;
  return (
    <Card title={t('audit.title')} aside={state}>
      <p>{t('audit.text')}</p>
      <Facts
        facts={[
          { name: t('audit.size'), value: t('audit.leaves', { count: count(language, audit.size) }) },
          { name: t('audit.root'), value: <Digest value={audit.root} what={t('audit.root')} isWhole /> },
          { name: t('audit.vkey'), value: <Digest value={audit.vkey} what={t('audit.vkey')} isWhole /> },
          { name: t('audit.origin'), value: <code translate="no">{audit.origin}</code> },
        ]}
      />
    </Card>
  );
}
