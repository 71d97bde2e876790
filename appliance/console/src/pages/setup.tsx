/**
 * The first-boot ceremony: the code on the box's own screen, three people who each take one office, a first user and
 * a first key if wanted. Each person takes the keyboard in turn. Nothing is sent before the last step, and what was
 * typed lives in this page only.
 */

import { useState } from 'react';
import { postSetUp } from '../api/client';
import { asFault, type Fault } from '../api/fault';
import type { AdminRole, SetUpDone } from '../api/types';
import type { Person } from '../enrol/person';
import { codeAt, stepAt } from '../enrol/totp';
import { Brand } from '../parts/brand';
import { LanguageSwitch } from '../parts/language-switch';
import { useWords, type Key } from '../words/words';
import { boxTimeNow } from './setup/box-time';
import { DoneStep } from './setup/done-step';
import { FinishStep } from './setup/finish-step';
import { PersonStep } from './setup/person-step';
import { StartStep } from './setup/start-step';
import { UserStep } from './setup/user-step';
import css from './setup.module.css';

const OFFICES: readonly AdminRole[] = ['system', 'security', 'audit'];

const STEPS: readonly Key[] = ['setup.step.start', 'role.system', 'role.security', 'role.audit', 'role.user', 'setup.step.finish'];

export function SetUpPage() {
  const { t } = useWords();
  const [step, setStep] = useState(0);
  const [setupCode, setSetupCode] = useState('');
  const [admins, setAdmins] = useState<readonly Person[]>([]);
  const [user, setUser] = useState<Person>();
  const [done, setDone] = useState<SetUpDone>();
  const [fault, setFault] = useState<Fault>();
  const next = () => setStep(step + 1);
  const office = OFFICES[step - 1];

  const submit = async (keyLabel: string) => {
    setFault(undefined);
    try {
      // Each code was checked on the person's device minutes ago and has run out since; the box asks for one of now.
      const now = stepAt(await boxTimeNow());
      const accounts = await Promise.all(
        admins.map(async (person, index) => ({
          role: OFFICES[index] ?? 'audit',
          username: person.username,
          password: person.password,
          totp_secret: person.secret,
          totp_code: await codeAt(person.secret, now),
        })),
      );
      const { body } = await postSetUp({
        setup_code: setupCode,
        accounts,
        ...(user === undefined ? {} : { first_user: { username: user.username, password: user.password, totp_secret: user.secret } }),
        ...(keyLabel === '' ? {} : { first_key_label: keyLabel }),
      });
      setAdmins([]);
      setUser(undefined);
      setDone(body);
    } catch (error) {
      setFault(asFault(error));
    }
  };

  return (
    <div className={css.page}>
      <header className={css.head}>
        <Brand isLarge />
        <LanguageSwitch />
      </header>
      <main className={css.main}>
        <h1>{t('setup.title')}</h1>
        {done !== undefined ? <DoneStep done={done} /> : <Progress step={step} />}
        {done !== undefined ? null : office !== undefined ? (
          <PersonStep
            key={office}
            office={office}
            taken={admins.map((person) => person.username)}
            onDone={(person) => {
              setAdmins([...admins, person]);
              next();
            }}
          />
        ) : step === 0 ? (
          <StartStep
            code={setupCode}
            onDone={(code) => {
              setSetupCode(code);
              next();
            }}
          />
        ) : step === STEPS.length - 2 ? (
          <UserStep
            taken={admins.map((person) => person.username)}
            onDone={(person) => {
              setUser(person);
              next();
            }}
          />
        ) : (
          <FinishStep
            people={[...admins, ...(user === undefined ? [] : [user])]}
            setupCode={setupCode}
            onSetupCode={setSetupCode}
            fault={fault}
            onFinish={submit}
            onAgain={() => {
              setAdmins([]);
              setUser(undefined);
              setFault(undefined);
              setStep(1);
            }}
          />
        )}
      </main>
    </div>
  );
}

function Progress({ step }: { step: number }) {
  const { t } = useWords();
  return (
    <ol className={css.steps} aria-label={t('setup.steps')}>
      {STEPS.map((name, index) => (
        <li key={name} className={index < step ? css.past : undefined} {...(index === step ? { 'aria-current': 'step' as const } : {})}>
          <span className={css.number}>{index < step ? '✓' : index + 1}</span>
          {t(name)}
        </li>
      ))}
    </ol>
  );
}
