/** Tools that the model asks for. The console runs none of them; it shows what was asked. */

import type { ToolCall } from '../../chat/answer';
import { argumentRows } from '../../chat/text';
import { Icon } from '../../parts/icon';
import { useWords } from '../../words/words';
import css from './tool-calls.module.css';

export function ToolCalls({ calls }: { calls: readonly ToolCall[] }) {
  const { t } = useWords();
  return (
    <ul className={css.calls}>
      {calls.map((call, index) => (
        <li key={index} className={css.call}>
          <p className={css.name}>
            <Icon name="tool" />
            <span>
              {t('chat.toolCall')} <code translate="no">{call.name}</code>
            </span>
          </p>
          <dl className={css.arguments}>
            {argumentRows(call.arguments).map((row) => (
              <div key={row.name}>
                <dt translate="no">{row.name === '' ? t('chat.toolArguments') : row.name}</dt>
                <dd translate="no">{row.value}</dd>
              </div>
            ))}
          </dl>
          <p className={css.note}>{t('chat.toolNote')}</p>
        </li>
      ))}
    </ul>
  );
}
