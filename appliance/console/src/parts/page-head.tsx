/** Heading of a page, with a sentence on what it shows. */

import type { ReactNode } from 'react';
import css from './page-head.module.css';

export function PageHead({ title, text, aside }: { title: string; text: string; aside?: ReactNode }) {
  return (
    <header className={css.head}>
      <div>
        <h1>{title}</h1>
        <p>{text}</p>
      </div>
      {aside}
    </header>
  );
}
