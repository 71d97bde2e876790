import { pages } from '../paths';
import { Link } from '../router';
import { useWords } from '../words/words';
import css from './start.module.css';

export function NotFoundPage() {
  const { t } = useWords();
  return (
    <div className={css.page}>
      <h1>{t('notFound.title')}</h1>
      <p>{t('notFound.text')}</p>
      <Link to={pages.chat}>{t('notFound.toChat')}</Link>
    </div>
  );
}
