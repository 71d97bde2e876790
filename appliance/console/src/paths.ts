/** Every path of the console is built here: those of its own pages and those of the gateway that it calls. */

export const api = {
  session: '/api/session',
  setup: '/api/setup',
  status: '/api/status',
  models: '/api/models',
  chat: '/api/chat',
  deviceCa: '/ca.pem',
} as const;

export const pages = {
  home: '/',
  chat: '/chat',
  models: '/models',
  status: '/status',
  signIn: '/signin',
  setup: '/setup',
} as const;

/** Sign-in that leads back to the page the person was on. */
export function signInThen(next: string): string {
  return `${pages.signIn}?next=${encodeURIComponent(next)}`;
}

/** Where sign-in leads: a page of ours that was asked for, else the chat. Never an address from outside. */
export function afterSignIn(search: string): string {
  const next = new URLSearchParams(search).get('next');
  const known: readonly string[] = [pages.chat, pages.models, pages.status];
  return next !== null && known.includes(next) ? next : pages.chat;
}
