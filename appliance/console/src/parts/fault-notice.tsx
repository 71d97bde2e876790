/** What happened, why, what to do, and the code that the manual explains. */

import { consoleCodes, type Fault, type Words } from '../api/fault';
import { useWords, type Say } from '../words/words';
import { Icon } from './icon';
import css from './fault-notice.module.css';

export function FaultNotice({ fault }: { fault: Fault }) {
  const { t } = useWords();
  const words = fault.words ?? ownWords(fault, t);
  return (
    <div className={css.notice} role="alert">
      <Icon name="alert" />
      <div className={css.text}>
        <p className={css.what}>{words.what}</p>
        {words.why === undefined ? null : <p>{words.why}</p>}
        {words.remedy === undefined ? null : (
          <p>
            <strong>{t('fault.remedy')}</strong> {words.remedy}
          </p>
        )}
        <p className={css.code}>
          {t('fault.code')} <code translate="no">{fault.code}</code>
        </p>
      </div>
    </div>
  );
}

function ownWords(fault: Fault, t: Say): Words {
  switch (fault.code) {
    case consoleCodes.unreachable:
      return { what: t('fault.unreachable.what'), why: t('fault.unreachable.why'), remedy: t('fault.unreachable.do') };
    case consoleCodes.cutOff:
      return { what: t('fault.cutOff.what'), why: t('fault.cutOff.why'), remedy: t('fault.cutOff.do') };
    default:
      return {
        what: t('fault.unreadable.what', { status: String(fault.status) }),
        why: t('fault.unreadable.why'),
        remedy: t('fault.unreadable.do'),
      };
  }
}
