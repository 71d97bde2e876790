/** The other language, by its own name. */

import { setLanguage } from '../words/language';
import { useWords } from '../words/words';
import { Button } from './button';

export function LanguageSwitch() {
  const { t, language } = useWords();
  const other = language === 'zh-CN' ? 'en' : 'zh-CN';
  return (
    <Button weight="quiet" lang={other} onClick={() => setLanguage(other)}>
      {t('language.other')}
    </Button>
  );
}
