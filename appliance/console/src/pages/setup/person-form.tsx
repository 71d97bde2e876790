/** Name, password and second factor of one person, each checked before the next person takes the keyboard. */

import { useState, type FormEvent } from 'react';
import { checkPassword, isStrong, isTaken, type Person } from '../../enrol/person';
import { checkCode, makeSecret } from '../../enrol/totp';
import { Button } from '../../parts/button';
import { Field } from '../../parts/field';
import { count } from '../../words/format';
import { useWords, type Say } from '../../words/words';
import { boxTimeNow } from './box-time';
import { PasswordChecklist } from './password-checklist';
import { SecretView } from './secret-view';
import css from './step.module.css';

interface PersonFormProps {
  /** Names of the people before. */
  taken: readonly string[];
  onDone: (person: Person) => void;
}

interface Errors {
  username?: string;
  password?: string;
  repeated?: string;
  code?: string;
}

export function PersonForm({ taken, onDone }: PersonFormProps) {
  const { t, language } = useWords();
  const [secret] = useState(makeSecret);
  const [username, setUsername] = useState('');
  const [password, setPassword] = useState('');
  const [repeated, setRepeated] = useState('');
  const [code, setCode] = useState('');
  const [errors, setErrors] = useState<Errors>({});
  const name = username.trim();
  const checks = checkPassword(password, name);

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    const found = typingErrors(t, { isNameTaken: isTaken(name, taken), isStrong: isStrong(checks), isSame: password === repeated });
    const digits = code.replace(/\s/g, '');
    const check = await checkCode(secret, digits, await boxTimeNow().catch(() => new Date()));
    if (check.kind === 'wrong') found.code = t('setup.code.wrong');
    if (check.kind === 'clock') found.code = t('setup.code.clock', { minutes: count(language, Math.ceil(Math.abs(check.offsetSeconds) / 60)) });
    setErrors(found);
    if (Object.keys(found).length === 0) onDone({ username: name, password, secret });
  };

  return (
    <form className={css.form} onSubmit={(event) => void submit(event)}>
      <Field label={t('setup.username')} value={username} onText={setUsername} error={errors.username} required autoFocus maxLength={64} spellCheck={false} autoComplete="off" />
      <div className={css.two}>
        <Field label={t('setup.password')} value={password} onText={setPassword} error={errors.password} type="password" required maxLength={1024} autoComplete="new-password" />
        <Field label={t('setup.repeat')} value={repeated} onText={setRepeated} error={errors.repeated} type="password" required maxLength={1024} autoComplete="new-password" />
      </div>
      <PasswordChecklist checks={checks} />
      <SecretView username={name} secret={secret} />
      <Field
        label={t('setup.code')}
        hint={t('setup.code.hint')}
        value={code}
        onText={setCode}
        error={errors.code}
        inputMode="numeric"
        autoComplete="off"
        required
        pattern="[0-9 ]{6,7}"
        maxLength={7}
      />
      <div className={css.actions}>
        <Button weight="main" type="submit">
          {t('setup.next')}
        </Button>
      </div>
    </form>
  );
}

function typingErrors(t: Say, held: { isNameTaken: boolean; isStrong: boolean; isSame: boolean }): Errors {
  return {
    ...(held.isNameTaken ? { username: t('setup.nameTaken') } : {}),
    ...(held.isStrong ? {} : { password: t('setup.passwordWeak') }),
    ...(held.isSame ? {} : { repeated: t('setup.passwordDiffers') }),
  };
}
