/**
 * The first words of the status page: how it is, in one headline and one sentence that says what it
 * means for the work. Pure, so that every case can be read in a test.
 */
import type { JournalStats } from '../journal/contract.ts';
import type { Warning } from '../queue/early-warnings.ts';
import type { TargetState } from '../queue/target.ts';
import type { QueueConsumption } from './context.ts';

export type Level = 'calm' | 'notice' | 'outage';

export interface Summary {
  level: Level;
  headline: string;
  sentence: string;
}

export interface SummaryOf {
  breaker: TargetState['breaker'];
  condition: string | undefined;
  /** What the condition means, as the rest of a sentence. */
  meaning?: string | undefined;
  isStarted: boolean;
  isStopping: boolean;
  queues: readonly QueueConsumption[];
  journal: JournalStats | undefined;
  /** What may become an outage. */
  warnings: readonly Pick<Warning, 'name' | 'evidence'>[];
}

export function summaryOf(of: SummaryOf): Summary {
  const { isStarted, isStopping, breaker, condition } = of;
  if (isStopping) {
    return notice('Stopping', 'This replica finishes its jobs and takes no more; others go on.');
  }
  if (breaker === 'isolated') {
    return notice('Set apart by hand', `An operator keeps this replica from Redis. ${keptOf(of)}`);
  }
  if (condition === 'connecting' || !isStarted) {
    return notice('Starting', 'The first connection to Redis is being made.');
  }
  if (breaker === 'half-open') {
    return notice('Redis is coming back', `What was kept is being put back. ${keptOf(of)}`);
  }
  if (breaker === 'open') {
    const why = of.meaning ?? condition;
    return {
      level: 'outage',
      headline: 'Redis is away',
      sentence: `${why === undefined ? '' : `${sentenceCase(why)}. `}${keptOf(of)}`,
    };
  }
  // What QUEUES leaves to other replicas is as it should be.
  const idle = of.queues.filter(
    ({ isConsuming, concurrency }) => !isConsuming && concurrency !== 0,
  );
  if (idle.length > 0) {
    const names = idle.map(({ queue, reason }) => `${queue}${reason ? ` (${reason})` : ''}`);
    return notice('Redis is there', `Not worked on here: ${names.join(', ')}.`);
  }
  if ((of.journal?.jobs ?? 0) + (of.journal?.outcomes ?? 0) > 0) {
    const sentence =
      'Redis answers. What was kept meanwhile is written to it, and stays in the journal';
    return notice('Catching up', `${sentence} until it is safe there.`);
  }
  if (of.warnings.length > 0) {
    const what = of.warnings.length === 1 ? 'a warning' : `${of.warnings.length} warnings`;
    const names = of.warnings.map(({ name, evidence }) => `${name} (${evidence})`);
    return notice(`All is well, with ${what}`, `What may become an outage: ${names.join(', ')}.`);
  }
  return {
    level: 'calm',
    headline: 'All is well',
    sentence:
      of.queues.length === 0
        ? 'Redis answers. No handler is here, so no queue is worked on.'
        : 'Redis answers and all queues are worked on.',
  };
}

/** What becomes of jobs meanwhile. */
function keptOf({ journal }: SummaryOf): string {
  if (journal === undefined) return 'Running jobs go on; new ones are refused until it is back.';
  const isFull = journal.bytes >= journal.bytesMax || journal.entries >= journal.entriesMax;
  const trouble = journal.trouble ?? (isFull ? 'it is full' : undefined);
  const waiting =
    journal.entries === 0
      ? 'Nothing waits in the journal yet'
      : `${count(journal.entries, 'entry waits', 'entries wait')} in the journal`;
  if (trouble) return `Running jobs go on. ${waiting}, and ${trouble}: new jobs are refused.`;
  return `Running jobs go on, and new ones are kept. ${waiting}.`;
}

function notice(headline: string, sentence: string): Summary {
  return { level: 'notice', headline, sentence: sentence.trim() };
}

function count(number: number, one: string, many: string): string {
  return `${number.toLocaleString('en')} ${number === 1 ? one : many}`;
}

function sentenceCase(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
