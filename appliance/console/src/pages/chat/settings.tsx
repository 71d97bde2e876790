/** Which model answers, whether it thinks first, and, folded, what developers set. */

import { useId } from 'react';
import { changeSettings } from '../../chat/store';
import { parseTools, type Freedom, type Settings as SettingsOf } from '../../chat/request';
import { useWords, type Key } from '../../words/words';
import css from './settings.module.css';

const FREEDOMS: Record<Freedom, Key> = {
  strict: 'chat.freedom.strict',
  balanced: 'chat.freedom.balanced',
  free: 'chat.freedom.free',
};

export function Settings({ settings, models }: { settings: SettingsOf; models: readonly string[] }) {
  const { t } = useWords();
  const id = useId();
  return (
    <div className={css.settings}>
      <label className={css.row}>
        {t('chat.model')}
        <select value={settings.model} disabled={models.length === 0} onChange={(event) => changeSettings({ model: event.target.value })}>
          {models.length === 0 ? <option value="">{t('chat.modelNone')}</option> : null}
          {models.map((model) => (
            <option key={model}>{model}</option>
          ))}
        </select>
      </label>
      <label className={css.row}>
        <input type="checkbox" checked={settings.thinks} onChange={(event) => changeSettings({ thinks: event.target.checked })} />
        {t('chat.think')}
      </label>
      <details className={css.more}>
        <summary>{t('chat.more')}</summary>
        <div className={css.panel}>
          <label className={css.stacked}>
            {t('chat.freedom')}
            <select value={settings.freedom} onChange={(event) => changeSettings({ freedom: event.target.value as Freedom })}>
              {(Object.keys(FREEDOMS) as Freedom[]).map((freedom) => (
                <option key={freedom} value={freedom}>
                  {t(FREEDOMS[freedom])}
                </option>
              ))}
            </select>
          </label>
          <label className={css.stacked}>
            {t('chat.system')}
            <textarea rows={2} value={settings.system} onChange={(event) => changeSettings({ system: event.target.value })} />
          </label>
          <label className={css.stacked}>
            {t('chat.tools')}
            <textarea
              rows={3}
              className={css.code}
              spellCheck={false}
              value={settings.tools}
              aria-invalid={parseTools(settings.tools) === undefined}
              aria-describedby={`${id}-tools`}
              onChange={(event) => changeSettings({ tools: event.target.value })}
            />
          </label>
          <p id={`${id}-tools`} className={css.hint}>
            {parseTools(settings.tools) === undefined ? t('chat.toolsBad') : t('chat.toolsHint')}
          </p>
        </div>
      </details>
    </div>
  );
}
