/** Which box this is, and what it serves. */

import type { Status } from '../../api/types';
import { Card } from '../../parts/card';
import { Facts } from '../../parts/facts';
import { pages } from '../../paths';
import { Link } from '../../router';
import { count, durationParts } from '../../words/format';
import { useWords } from '../../words/words';

export function Box({ status }: { status: Status }) {
  const { t, language } = useWords();
  const parts = durationParts(status.uptime_ms);
  const shown = {
    days: count(language, parts.days),
    hours: String(parts.hours),
    minutes: String(parts.minutes),
    seconds: String(parts.seconds),
  };
  const uptime = parts.days > 0 ? t('duration.days', shown) : parts.hours > 0 ? t('duration.hours', shown) : t('duration.minutes', shown);
  return (
    <Card title={t('box.title')}>
      <Facts
        facts={[
          {
            name: t('box.serving'),
            value: status.serving ? <Link to={pages.models}>{status.serving.name}</Link> : t('box.servingNone'),
          },
          { name: t('box.serial'), value: <code translate="no">{status.serial}</code> },
          { name: t('box.version'), value: status.version },
          { name: t('box.uptime'), value: uptime },
          { name: t('box.mode'), value: status.is_developer_mode ? t('box.modeDeveloper') : t('box.modeSealed') },
          { name: t('box.setUp'), value: status.is_set_up ? t('box.setUpDone') : t('box.setUpOpen') },
        ]}
      />
    </Card>
  );
}
