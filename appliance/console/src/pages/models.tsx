/** Installed models: where they came from, that their signature holds, and the facts for planning. */

import { readModels } from '../api/client';
import type { ModelFacts } from '../api/types';
import { Badge } from '../parts/badge';
import { Card } from '../parts/card';
import { Digest } from '../parts/digest';
import { Facts } from '../parts/facts';
import { FaultNotice } from '../parts/fault-notice';
import { ModelState } from '../parts/model-state';
import { PageHead } from '../parts/page-head';
import { usePolled } from '../parts/use-polled';
import { bytes, count, dateTime, parameters } from '../words/format';
import { useWords } from '../words/words';
import css from './page.module.css';

const REFRESH_MS = 10_000;

export function ModelsPage() {
  const { t } = useWords();
  const { value, fault } = usePolled(readModels, REFRESH_MS);
  return (
    <div className={css.page}>
      <PageHead title={t('models.title')} text={t('models.intro')} />
      {fault === undefined ? null : <FaultNotice fault={fault} />}
      {value === undefined && fault === undefined ? <p role="status">{t('page.loading')}</p> : null}
      {value?.data.length === 0 ? <p className={css.empty}>{t('models.none')}</p> : null}
      {value?.data.map((model) => <Model key={model.package_digest} model={model} />)}
    </div>
  );
}

/** A model that did not load proves less: its signature held when it was imported, and nothing is said of now. */
function Signature({ state }: { state: string }) {
  const { t } = useWords();
  const hasFailed = state === 'failed';
  return (
    <>
      <Badge tone={hasFailed ? 'warn' : 'good'} icon="shield">
        {hasFailed ? t('models.signedOnce') : t('models.signed')}
      </Badge>
      <p>{hasFailed ? t('models.signedOnceText') : t('models.signedText')}</p>
    </>
  );
}

function Model({ model }: { model: ModelFacts }) {
  const { t, language } = useWords();
  const title = t('models.heading', { name: model.name, version: model.version });
  return (
    <Card title={title} aside={<ModelState state={model.state} />}>
      <div className={css.proof}>
        <Signature state={model.state} />
        <Facts
          facts={[
            { name: t('models.package'), value: <Digest value={model.package_digest} what={t('models.package')} /> },
            { name: t('models.weights'), value: <Digest value={model.weights_digest} what={t('models.weights')} /> },
            { name: t('models.signedBy'), value: <Digest value={model.signed_by} what={t('models.signedBy')} /> },
            { name: t('models.template'), value: <Digest value={model.chat_template_digest} what={t('models.template')} /> },
          ]}
        />
      </div>
      <Facts
        columns={2}
        facts={[
          { name: t('models.architecture'), value: model.architecture },
          { name: t('models.parameters'), value: parameters(language, model.parameter_count) },
          { name: t('models.size'), value: bytes(language, model.weights_bytes) },
          { name: t('models.context'), value: t('models.tokens', { count: count(language, model.context_tokens) }) },
          { name: t('models.layers'), value: count(language, model.layer_count) },
          {
            name: t('models.heads'),
            value: t('models.headsValue', { heads: count(language, model.head_count), kv: count(language, model.kv_head_count) }),
          },
          { name: t('models.kv'), value: bytes(language, model.kv_bytes_per_token) },
          {
            name: t('models.kvWhole'),
            value: bytes(language, model.kv_bytes_per_token * model.context_tokens),
          },
          { name: t('models.tensors'), value: model.tensor_types.map(([type, tensors]) => `${type} × ${count(language, tensors)}`).join(', ') },
          { name: t('models.tokenizer'), value: model.tokenizer },
          { name: t('models.license'), value: model.license },
          { name: t('models.filing'), value: model.filing_number === '' ? t('models.filingNone') : model.filing_number },
          { name: t('models.security'), value: count(language, model.security_version) },
          { name: t('models.imported'), value: dateTime(language, new Date(model.imported_at)) },
        ]}
      />
    </Card>
  );
}
