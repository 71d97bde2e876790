/** Each promise of the box, in force or not on this machine now, as measured. What is not in force says why. */

import type { Guarantee, Status } from '../../api/types';
import { Badge } from '../../parts/badge';
import { Card } from '../../parts/card';
import { explain } from '../../words/explain';
import { count } from '../../words/format';
import { useWords, type Key } from '../../words/words';
import css from './guarantees.module.css';

type Catalogue = Readonly<Record<string, unknown>>;

/** Guarantees by the part of the box before the first dot of their name. */
const PARTS: Readonly<Record<string, Key>> = {
  gateway: 'guarantee.gateway',
  engine: 'guarantee.engine',
  supervisor: 'guarantee.supervisor',
  platform: 'guarantee.platform',
};

export function Guarantees({ status, words }: { status: Status; words: Catalogue }) {
  const { t, language } = useWords();
  const inForce = status.guarantees.filter((guarantee) => guarantee.in_force).length;
  const total = status.guarantees.length;
  const tally = t('guarantee.tally', { count: count(language, inForce), total: count(language, total) });
  return (
    <Card title={t('guarantee.title')} aside={<Badge tone={inForce === total ? 'good' : 'warn'} icon="shield">{tally}</Badge>}>
      <p>{status.is_developer_mode ? t('guarantee.textDeveloper') : t('guarantee.text')}</p>
      <div className={css.groups}>
        {groupByPart(status.guarantees).map(([part, guarantees]) => (
          <section key={part} className={css.group}>
            <h3>{partName(part, t)}</h3>
            <Reasons codes={whysOf(guarantees)} words={words} />
            <ul>
              {guarantees.map((guarantee) => (
                <Promised key={guarantee.name} guarantee={guarantee} words={words} />
              ))}
            </ul>
          </section>
        ))}
      </div>
    </Card>
  );
}

function Promised({ guarantee, words }: { guarantee: Guarantee; words: Catalogue }) {
  const { t, language } = useWords();
  const name = explain(words, guarantee.name, language);
  const why = guarantee.why ?? undefined;
  const reason = why === undefined ? undefined : explain(words, why, language);
  return (
    <li className={css.promised}>
      <Badge tone={guarantee.in_force ? 'good' : 'warn'} icon={guarantee.in_force ? 'check' : 'cross'}>
        {guarantee.in_force ? t('guarantee.inForce') : t('guarantee.notInForce')}
      </Badge>
      <div className={css.text}>
        {name === undefined ? null : <span>{name.what} </span>}
        <code translate="no">{guarantee.name}</code>
        {why === undefined ? null : (
          <p className={css.why}>
            {reason === undefined ? null : `${reason.what} `}
            <code translate="no">{why}</code>
          </p>
        )}
      </div>
    </li>
  );
}

/** What several promises lack for the same reason is explained once, above them. */
function Reasons({ codes, words }: { codes: readonly string[]; words: Catalogue }) {
  const { language } = useWords();
  const reasons = codes.map((code) => explain(words, code, language)).filter((reason) => reason?.why !== undefined);
  return (
    <>
      {reasons.map((reason) => (
        <p key={reason?.what} className={css.reason}>
          {reason?.why} {reason?.remedy}
        </p>
      ))}
    </>
  );
}

function whysOf(guarantees: readonly Guarantee[]): string[] {
  return [...new Set(guarantees.flatMap((guarantee) => (typeof guarantee.why === 'string' ? [guarantee.why] : [])))];
}

function partName(part: string, t: (key: Key) => string): string {
  const key = PARTS[part];
  return key === undefined ? part : t(key);
}

function groupByPart(guarantees: readonly Guarantee[]): [string, Guarantee[]][] {
  const groups = new Map<string, Guarantee[]>();
  for (const guarantee of guarantees) {
    const part = guarantee.name.split('.')[0] ?? guarantee.group;
    groups.set(part, [...(groups.get(part) ?? []), guarantee]);
  }
  return [...groups];
}
