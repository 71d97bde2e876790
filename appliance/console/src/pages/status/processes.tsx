/** The processes and whether they move. */

import type { Process, Status } from '../../api/types';
import { Badge, type Tone } from '../../parts/badge';
import { Card } from '../../parts/card';
import { Table } from '../../parts/table';
import { count } from '../../words/format';
import { useWords, type Key } from '../../words/words';

const PHASES: Readonly<Record<string, { word: Key; tone: Tone }>> = {
  starting: { word: 'process.starting', tone: 'warn' },
  serving: { word: 'process.serving', tone: 'good' },
  restarting: { word: 'process.restarting', tone: 'warn' },
  stopped: { word: 'process.stopped', tone: 'bad' },
};

const ROLES: Readonly<Record<string, Key>> = {
  gateway: 'process.gateway',
  engine: 'process.engine',
  supervisor: 'process.supervisor',
};

const STAGES: Readonly<Record<string, Key>> = {
  verifying: 'process.verifying',
  loading: 'process.loading',
  asking: 'process.asking',
};

/** How far a starting engine is, and with which model. */
function HowFar({ process }: { process: Process }) {
  const { t } = useWords();
  const stage = process.progress === null ? undefined : STAGES[process.progress.stage];
  if (process.progress === null || stage === undefined) return process.model === null ? null : ` ${process.model}`;
  return ` ${process.model ?? ''} ${t(stage, { percent: String(Math.floor(process.progress.permille / 10)) })}`;
}

export function Processes({ status }: { status: Status }) {
  const { t, language } = useWords();
  const supervisor: Process = { role: 'supervisor', pid: status.supervisor_pid, phase: 'serving', restart_count: 0, step_count: null, model: null, progress: null };
  const none = t('page.none');
  const notApplicable = t('page.notApplicable');
  return (
    <Card title={t('process.title')}>
      <Table
        caption={t('process.title')}
        head={[t('process.role'), t('process.pid'), t('process.phase'), t('process.restarts'), t('process.steps')]}
        rows={[supervisor, ...status.processes].map((process, index) => {
          const phase = PHASES[process.phase];
          const role = ROLES[process.role];
          const restarts = process.role === 'supervisor' ? notApplicable : count(language, process.restart_count);
          return {
            key: `${process.role} ${index}`,
            cells: [
              role === undefined ? process.role : t(role),
              process.pid === null || process.pid === undefined ? none : String(process.pid),
              <span key="phase">
                <Badge tone={phase?.tone ?? 'plain'}>{phase === undefined ? process.phase : t(phase.word)}</Badge>
                <HowFar process={process} />
              </span>,
              restarts,
              process.step_count === null || process.step_count === undefined ? notApplicable : count(language, process.step_count),
            ],
          };
        })}
      />
    </Card>
  );
}
