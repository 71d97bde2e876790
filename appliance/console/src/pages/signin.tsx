/** Sign-in: name, password, six-digit code. The box decides, and does not say which of the three was wrong. */

import { useEffect, useState, type FormEvent } from 'react';
import { readSetUp } from '../api/client';
import { asFault, type Fault } from '../api/fault';
import { Brand } from '../parts/brand';
import { Button } from '../parts/button';
import { FaultNotice } from '../parts/fault-notice';
import { Field } from '../parts/field';
import { LanguageSwitch } from '../parts/language-switch';
import { api } from '../paths';
import { signIn } from '../session';
import { dateTime } from '../words/format';
import { useWords } from '../words/words';
import css from './signin.module.css';

/** A clock that is off by more than this makes codes fail. */
const CLOCK_TOLERANCE_MS = 30_000;

export function SignInPage({ hasExpired }: { hasExpired: boolean }) {
  const { t } = useWords();
  const [username, setUsername] = useState('');
  const [password, setPassword] = useState('');
  const [code, setCode] = useState('');
  const [fault, setFault] = useState<Fault>();
  const [isBusy, setIsBusy] = useState(false);

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (isBusy) return;
    setIsBusy(true);
    try {
      await signIn({ username: username.trim(), password, code: code.replace(/\s/g, '') });
    } catch (error) {
      setFault(asFault(error));
      setCode('');
      setIsBusy(false);
    }
  };

  return (
    <div className={css.page}>
      <main className={css.card}>
        <Brand isLarge />
        <div>
          <h1>{t('signin.title')}</h1>
          <p className={css.promise}>{t('signin.promise')}</p>
        </div>
        {hasExpired && fault === undefined ? (
          <p className={css.expired} role="status">
            {t('signin.expired')}
          </p>
        ) : null}
        {fault === undefined ? null : <FaultNotice fault={fault} />}
        <form className={css.form} onSubmit={(event) => void submit(event)}>
          <Field label={t('signin.username')} value={username} onText={setUsername} autoComplete="username" required autoFocus maxLength={64} spellCheck={false} />
          <Field label={t('signin.password')} value={password} onText={setPassword} type="password" autoComplete="current-password" required maxLength={1024} />
          <Field
            label={t('signin.code')}
            hint={t('signin.codeHint')}
            value={code}
            onText={setCode}
            inputMode="numeric"
            autoComplete="one-time-code"
            required
            pattern="[0-9 ]{6,7}"
            maxLength={7}
          />
          <Button weight="main" type="submit" aria-disabled={isBusy}>
            {isBusy ? t('signin.busy') : t('signin.action')}
          </Button>
        </form>
      </main>
      <footer className={css.foot}>
        <BoxClock />
        <a href={api.deviceCa} download>
          {t('signin.deviceCa')}
        </a>
        <LanguageSwitch />
      </footer>
    </div>
  );
}

/** The box's time, since the codes depend on it; with a word when this computer's clock differs. */
function BoxClock() {
  const { t, language } = useWords();
  const [offsetMs, setOffsetMs] = useState<number>();
  const [now, setNow] = useState(() => Date.now());

  useEffect(() => {
    const control = new AbortController();
    readSetUp(control.signal)
      .then(({ boxTime }) => setOffsetMs(boxTime === undefined ? undefined : boxTime.getTime() - Date.now()))
      .catch(() => undefined);
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => {
      control.abort();
      clearInterval(timer);
    };
  }, []);

  if (offsetMs === undefined) return null;
  return (
    <span>
      {t('signin.boxTime', { time: dateTime(language, new Date(now + offsetMs)) })}
      {Math.abs(offsetMs) > CLOCK_TOLERANCE_MS ? <strong className={css.clock}> {t('signin.clockDiffers')}</strong> : null}
    </span>
  );
}
