/** A digest or key, short to read; the whole is shown on demand by copying, and kept as the title. */

import { shortDigest } from '../words/format';
import { Copy } from './copy';
import css from './digest.module.css';

interface DigestProps {
  value: string;
  what: string;
  isWhole?: boolean;
}

export function Digest({ value, what, isWhole = false }: DigestProps) {
  return (
    <span className={css.digest}>
      <code className={isWhole ? css.whole : undefined} title={value} translate="no">
        {isWhole ? value : shortDigest(value)}
      </code>
      <Copy text={value} what={what} />
    </span>
  );
}
