/** The frame of all pages behind sign-in: name, navigation, language, who is signed in. */

import type { ReactNode } from 'react';
import type { Role, Session } from '../api/types';
import { pages } from '../paths';
import { Link } from '../router';
import { signOut } from '../session';
import { useWords, type Key } from '../words/words';
import { Brand } from './brand';
import { Button } from './button';
import { Icon, type IconName } from './icon';
import { LanguageSwitch } from './language-switch';
import css from './shell.module.css';

const PLACES: readonly { to: string; name: Key; icon: IconName }[] = [
  { to: pages.chat, name: 'chat.title', icon: 'chat' },
  { to: pages.models, name: 'models.title', icon: 'model' },
  { to: pages.status, name: 'status.title', icon: 'pulse' },
];

const ROLES: Record<Role, Key> = {
  system: 'role.system',
  security: 'role.security',
  audit: 'role.audit',
  user: 'role.user',
};

interface ShellProps {
  session: Session;
  path: string;
  /** Whether the page takes the height of the window and scrolls inside. */
  fills: boolean;
  children: ReactNode;
}

export function Shell({ session, path, fills, children }: ShellProps) {
  const { t } = useWords();
  return (
    <div className={fills ? `${css.shell} ${css.fills}` : css.shell}>
      <a className={css.skip} href="#main">
        {t('nav.skip')}
      </a>
      <header className={css.header}>
        <Brand />
        <nav className={css.places} aria-label={t('nav.main')}>
          {PLACES.map((place) => (
            <Link key={place.to} to={place.to} className={css.place} {...(place.to === path ? { 'aria-current': 'page' } : {})}>
              <Icon name={place.icon} />
              {t(place.name)}
            </Link>
          ))}
        </nav>
        <div className={css.person}>
          <LanguageSwitch />
          <span className={css.who}>
            <span className={css.username}>{session.username}</span>
            <span className={css.role}>{t(ROLES[session.role])}</span>
          </span>
          <Button weight="quiet" onClick={() => void signOut()}>
            {t('session.signOut')}
          </Button>
        </div>
      </header>
      <main id="main" tabIndex={-1} className={css.main}>
        {children}
      </main>
    </div>
  );
}
