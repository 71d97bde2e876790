/** While the page does not yet know whether the box is set up and who is signed in; or cannot reach the box. */

import { useEffect } from 'react';
import type { Fault } from '../api/fault';
import { Brand } from '../parts/brand';
import { Button } from '../parts/button';
import { FaultNotice } from '../parts/fault-notice';
import { LanguageSwitch } from '../parts/language-switch';
import { loadSession } from '../session';
import { useWords } from '../words/words';
import css from './start.module.css';

const RETRY_MS = 3000;

export function StartPage({ fault }: { fault: Fault | undefined }) {
  const { t } = useWords();

  useEffect(() => {
    if (fault === undefined) return undefined;
    const timer = setTimeout(() => void loadSession(), RETRY_MS);
    return () => clearTimeout(timer);
  }, [fault]);

  return (
    <main className={css.page}>
      <h1>
        <Brand isLarge />
      </h1>
      {fault === undefined ? (
        <p role="status">{t('start.loading')}</p>
      ) : (
        <>
          <FaultNotice fault={fault} />
          <p>{t('start.retry')}</p>
          <Button icon="again" onClick={() => void loadSession()}>
            {t('start.retryNow')}
          </Button>
        </>
      )}
      <LanguageSwitch />
    </main>
  );
}
