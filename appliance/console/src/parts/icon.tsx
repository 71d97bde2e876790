/** Small pictures beside words, never instead of them: each is hidden from readers of the screen. */

import css from './icon.module.css';

const PATHS = {
  check: 'M4 10.5l4 4 8-9',
  cross: 'M5 5l10 10M15 5L5 15',
  alert: 'M10 3l8 14H2zM10 8v4M10 14.5v.5',
  clock: 'M10 3a7 7 0 100 14 7 7 0 000-14zM10 6v4l3 2',
  copy: 'M7 7h9v10H7zM4 13V3h9',
  stop: 'M6 6h8v8H6z',
  send: 'M10 16V4M5 9l5-5 5 5',
  plus: 'M10 4v12M4 10h12',
  again: 'M15.5 8A6 6 0 104 12M16 3.5V8h-4.5',
  tool: 'M12.5 3.5a4 4 0 00-4 5.4L3.5 14l2.5 2.5 5-5a4 4 0 005.4-5l-2.4 2.4-2.2-.6-.6-2.2z',
  shield: 'M10 2.5l6.5 2.5v4.5c0 4-2.8 6.8-6.5 8-3.7-1.2-6.5-4-6.5-8V5z',
  chat: 'M3 4h14v10H9l-4 3.5V14H3z',
  model: 'M10 2.5l7 3.8v7.4l-7 3.8-7-3.8V6.3zM3.2 6.4L10 10l6.8-3.6M10 10v7.3',
  pulse: 'M2 10h4l2-5 4 10 2-5h4',
  ring: 'M10 4a6 6 0 110 12 6 6 0 010-12z',
  down: 'M5 8l5 5 5-5',
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg className={css.icon} viewBox="0 0 20 20" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
