/** A part of a page with its heading. */

import { useId, type ReactNode } from 'react';
import css from './card.module.css';

interface CardProps {
  title: string;
  /** Beside the heading: a state or an action. */
  aside?: ReactNode;
  children: ReactNode;
}

export function Card({ title, aside, children }: CardProps) {
  const id = useId();
  return (
    <section className={css.card} aria-labelledby={id}>
      <header className={css.head}>
        <h2 id={id}>{title}</h2>
        {aside}
      </header>
      {children}
    </section>
  );
}
