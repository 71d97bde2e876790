/** State of a model in a word. */

import { useWords, type Key } from '../words/words';
import { Badge, type Tone } from './badge';

const STATES: Readonly<Record<string, { word: Key; tone: Tone }>> = {
  serving: { word: 'models.state.serving', tone: 'good' },
  loading: { word: 'models.state.loading', tone: 'warn' },
  stored: { word: 'models.state.stored', tone: 'plain' },
  failed: { word: 'models.state.failed', tone: 'bad' },
};

export function ModelState({ state }: { state: string }) {
  const { t } = useWords();
  const known = STATES[state];
  return known === undefined ? <Badge tone="plain">{state}</Badge> : <Badge tone={known.tone}>{t(known.word)}</Badge>;
}
