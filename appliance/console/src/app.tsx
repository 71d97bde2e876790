/** Which page for which address and session. */

import { useEffect } from 'react';
import { afterSignIn, pages, signInThen } from './paths';
import { navigate, useAddress } from './router';
import { useSession, type SessionState } from './session';
import { useWords, type Key } from './words/words';
import { ChatPage } from './pages/chat';
import { ModelsPage } from './pages/models';
import { NotFoundPage } from './pages/not-found';
import { SetUpPage } from './pages/setup';
import { SignInPage } from './pages/signin';
import { StartPage } from './pages/start';
import { StatusPage } from './pages/status';
import { Shell } from './parts/shell';

const TITLES: Partial<Record<string, Key>> = {
  [pages.chat]: 'chat.title',
  [pages.models]: 'models.title',
  [pages.status]: 'status.title',
  [pages.signIn]: 'signin.title',
  [pages.setup]: 'setup.title',
};

export function App() {
  const { t, language } = useWords();
  const { path, search } = useAddress();
  const session = useSession();
  const elsewhere = redirect(path, search, session);

  useEffect(() => {
    if (elsewhere !== undefined) navigate(elsewhere, 'replace');
  }, [elsewhere]);

  useEffect(() => {
    document.documentElement.lang = language;
    document.title = `${t(TITLES[path] ?? 'notFound.title')} · ${t('app.name')}`;
  });

  if (session.kind === 'unknown' || session.kind === 'unreachable') {
    return <StartPage fault={session.kind === 'unreachable' ? session.fault : undefined} />;
  }
  if (elsewhere !== undefined) return null;
  if (path === pages.setup) return <SetUpPage />;
  if (session.kind !== 'in') return <SignInPage hasExpired={session.kind === 'out' && session.hasExpired} />;
  return (
    <Shell session={session.session} path={path} fills={path === pages.chat}>
      <Page path={path} />
    </Shell>
  );
}

function Page({ path }: { path: string }) {
  switch (path) {
    case pages.chat:
      return <ChatPage />;
    case pages.models:
      return <ModelsPage />;
    case pages.status:
      return <StatusPage />;
    default:
      return <NotFoundPage />;
  }
}

/** Where the person must go first, if not where the address says. */
function redirect(path: string, search: string, session: SessionState): string | undefined {
  switch (session.kind) {
    case 'not-set-up':
      return path === pages.setup ? undefined : pages.setup;
    case 'out':
      return path === pages.signIn || path === pages.setup ? (path === pages.setup ? pages.signIn : undefined) : signInThen(path);
    case 'in':
      if (path === pages.signIn) return afterSignIn(search);
      return path === pages.home || path === pages.setup ? pages.chat : undefined;
    default:
      return undefined;
  }
}
