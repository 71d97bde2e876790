/** The box about itself: health first, then the processes, the audit log, and each promise as measured. */

import { useEffect, useState } from 'react';
import { readStatus } from '../api/client';
import type { Status } from '../api/types';
import { FaultNotice } from '../parts/fault-notice';
import { PageHead } from '../parts/page-head';
import { usePolled } from '../parts/use-polled';
import { loadExplanations } from '../words/explain';
import { clock } from '../words/format';
import { useWords } from '../words/words';
import { AuditLog } from './status/audit-log';
import { Guarantees } from './status/guarantees';
import { HealthBanner } from './status/health';
import { Box } from './status/box';
import { Platform } from './status/platform';
import { Processes } from './status/processes';
import page from './page.module.css';
import css from './status.module.css';

const REFRESH_MS = 3000;

export function StatusPage() {
  const { t, language } = useWords();
  const { value, readAt, fault } = usePolled(readStatus, REFRESH_MS);
  const words = useExplanations();
  const read = readAt === undefined ? '' : t('status.readAt', { time: clock(language, readAt) });
  return (
    <div className={page.page}>
      <PageHead title={t('status.title')} text={t('status.intro')} aside={<span className={css.readAt}>{read}</span>} />
      {fault === undefined ? null : <FaultNotice fault={fault} />}
      {value === undefined && fault === undefined ? <p role="status">{t('page.loading')}</p> : null}
      {value === undefined ? null : <Picture status={value} words={words} />}
    </div>
  );
}

function Picture({ status, words }: { status: Status; words: Readonly<Record<string, unknown>> }) {
  return (
    <>
      <HealthBanner status={status} words={words} />
      <div className={css.columns}>
        <Processes status={status} />
        <Box status={status} />
      </div>
      <AuditLog audit={status.audit} />
      <Guarantees status={status} words={words} />
      {status.platform.length === 0 ? null : <Platform status={status} />}
    </>
  );
}

function useExplanations(): Readonly<Record<string, unknown>> {
  const [words, setWords] = useState<Readonly<Record<string, unknown>>>({});
  useEffect(() => {
    let isWanted = true;
    void loadExplanations().then((loaded) => {
      if (isWanted) setWords(loaded);
    });
    return () => {
      isWanted = false;
    };
  }, []);
  return words;
}
