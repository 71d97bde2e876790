/** The machine under the box: what was measured when it started, beside what the signer of its image published. */

import type { Status } from '../../api/types';
import { Badge } from '../../parts/badge';
import { Card } from '../../parts/card';
import { Table } from '../../parts/table';
import { useWords } from '../../words/words';

export function Platform({ status }: { status: Status }) {
  const { t } = useWords();
  const head = [t('platform.fact.name'), t('platform.fact.measured'), t('platform.fact.published')];
  const none = t('platform.fact.none');
  return (
    <Card title={t('platform.title')}>
      <p>{t('platform.text')}</p>
      <Table
        caption={t('platform.title')}
        head={head}
        rows={status.platform.map((fact) => ({
          key: fact.name,
          cells: [
            <code key="name" translate="no">
              {fact.name}
            </code>,
            fact.measured ?? none,
            <span key="published">
              {fact.published ?? none} {differs(fact) ? <Badge tone="warn">{t('platform.fact.differs')}</Badge> : null}
            </span>,
          ],
        }))}
      />
    </Card>
  );
}

/** Security versions are not compared here: the measured one is the least that may serve, not the one that runs. */
function differs(fact: Status['platform'][number]): boolean {
  const isComparable = fact.name === 'image-version' || fact.name === 'image-root';
  return isComparable && fact.measured !== fact.published;
}
