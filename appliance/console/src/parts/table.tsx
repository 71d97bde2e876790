/** A plain table that scrolls inside itself on a narrow screen. */

import type { ReactNode } from 'react';
import css from './table.module.css';

export interface Row {
  key: string;
  /** The first cell names the row. */
  cells: readonly ReactNode[];
}

interface TableProps {
  caption: string;
  head: readonly string[];
  rows: readonly Row[];
}

export function Table({ caption, head, rows }: TableProps) {
  return (
    <div className={css.frame} role="region" aria-label={caption} tabIndex={0}>
      <table className={css.table}>
        <thead>
          <tr>
            {head.map((name) => (
              <th key={name} scope="col">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.key}>
              {row.cells.map((cell, index) =>
                index === 0 ? (
                  <th key={head[index]} scope="row">
                    {cell}
                  </th>
                ) : (
                  <td key={head[index]}>{cell}</td>
                ),
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
