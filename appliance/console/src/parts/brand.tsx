/** Mark and name of the product. */

import mark from '../style/mark.svg';
import { useWords } from '../words/words';
import css from './brand.module.css';

export function Brand({ isLarge = false }: { isLarge?: boolean }) {
  const { t } = useWords();
  return (
    <span className={isLarge ? `${css.brand} ${css.large}` : css.brand}>
      <img src={mark} alt="" />
      <span>{t('app.name')}</span>
    </span>
  );
}
