/** A state in one word: a sign and a word, the colour only helps. */

import type { ReactNode } from 'react';
import { Icon, type IconName } from './icon';
import css from './badge.module.css';

export type Tone = 'good' | 'warn' | 'bad' | 'plain';

const SIGNS: Record<Tone, IconName> = { good: 'check', warn: 'clock', bad: 'alert', plain: 'ring' };

export function Badge({ tone, icon, children }: { tone: Tone; icon?: IconName; children: ReactNode }) {
  const tones = { good: css.good, warn: css.warn, bad: css.bad, plain: css.plain };
  return (
    <span className={`${css.badge} ${tones[tone]}`}>
      <Icon name={icon ?? SIGNS[tone]} />
      {children}
    </span>
  );
}
