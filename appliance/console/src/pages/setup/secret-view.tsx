/** The secret of the one-time codes, made in this page: as a picture for a phone and as text for everything else. */

import { lazy, Suspense } from 'react';
import { groupSecret, otpauthUri } from '../../enrol/totp';
import { Copy } from '../../parts/copy';
import { useWords } from '../../words/words';
import css from './secret-view.module.css';

const QrCode = lazy(() => import('./qr-code'));

export function SecretView({ username, secret }: { username: string; secret: string }) {
  const { t } = useWords();
  return (
    <section className={css.view} aria-label={t('setup.secret')}>
      <Suspense fallback={<div className={css.place} />}>
        <QrCode text={otpauthUri(username, secret)} label={t('setup.qr')} />
      </Suspense>
      <div className={css.text}>
        <p>{t('setup.secretText')}</p>
        <p className={css.secret}>
          <code translate="no">{groupSecret(secret)}</code>
          <Copy text={secret} what={t('setup.secret')} />
        </p>
        <p className={css.note}>{t('setup.secretNote')}</p>
      </div>
    </section>
  );
}
