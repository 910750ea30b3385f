/**
 * `steps`: several jobs as one. A chain runs them one after the other, each with the result of the one
 * before as `previous`; in parallel they run at once. A BullMQ flow: the steps are children of this
 * job, which waits for them without holding a slot.
 *
 * The handler is begun anew each time a step ends, and after a crash. It reads from the flow itself
 * what is done, and the ids of the steps follow from its own, so beginning again adds nothing twice.
 */
import { type Job, WaitingChildrenError } from 'bullmq';
import { defineWorker, type HandlerContext, InvalidJobDataError } from 'holdfast';
import { z } from 'zod';

/** More than this is a program, not a job. */
const STEPS_MAX = 100;

const stepSchema = z.object({
  queue: z.string().min(1).max(128),
  name: z.string().min(1).max(128).optional(),
  data: z.record(z.string(), z.unknown()).default({}),
});

const schema = z.object({
  steps: z.array(stepSchema).min(1).max(STEPS_MAX),
  mode: z.enum(['chain', 'parallel']).default('chain'),
  /** `allow`: queues that only other services handle, too. */
  unknown: z.enum(['refuse', 'allow']).default('refuse'),
});

export type StepsData = z.infer<typeof schema>;
type Step = StepsData['steps'][number];

export interface StepResult {
  queue: string;
  jobId: string;
  result: unknown;
}

/** What the flow knows of the steps, in their order; `undefined` while one is not done. */
type Ends = ({ result: unknown } | { failed: string } | undefined)[];

export default defineWorker<
  z.infer<typeof schema>,
  { results: StepResult[] },
  { queues: readonly string[] }
>({
  queue: 'steps',
  schema,
  setup: (_config, { queues }) => ({ queues }),
  async handler(job, ctx) {
    const { steps, mode } = job.data;
    if (job.data.unknown === 'refuse') refuseUnknown(steps, ctx.resources.queues);
    const ends = await endsOf(job, steps);
    failIfAnyFailed(steps, ends, ctx);
    const next = ends.indexOf(undefined);
    if (next === -1) {
      await ctx.progress({ done: steps.length, total: steps.length });
      return {
        results: steps.map(({ queue }, i) => ({
          queue,
          jobId: stepId(job, i),
          result: (ends[i] as { result: unknown }).result,
        })),
      };
    }
    const begun = mode === 'chain' ? [next] : [...ends.keys()].filter((i) => !ends[i]);
    for (const i of begun) await begin(job, ctx, i, previousOf(mode, ends, i));
    const done = ends.filter((end) => end !== undefined).length;
    await ctx.progress({ done, total: steps.length, current: begun.map((i) => steps[i]?.queue) });
    if (await job.moveToWaitingChildren(job.token ?? '')) throw new WaitingChildrenError();
    // The last step ended between our look and now.
    return ctx.retryAfter(0);
  },
});

/**
 * A step in a queue that nobody handles would be waited for for ever. A newer replica may handle it, so
 * this is as any data that does not fit: put off first.
 */
function refuseUnknown(steps: readonly Step[], known: readonly string[]): void {
  const issues = steps.flatMap(({ queue }, i) =>
    known.includes(queue)
      ? []
      : [
          {
            path: `steps.${i}.queue`,
            message: `no worker here handles "${queue}" (but ${known.join(', ')}); if another service does, add unknown: "allow"`,
          },
        ],
  );
  if (issues.length > 0) throw new InvalidJobDataError('steps', issues);
}

/** The children's values and failures by their ids, which follow from this job's. */
async function endsOf(job: Job, steps: readonly Step[]): Promise<Ends> {
  const values = byId(await job.getChildrenValues());
  const failures = byId(await job.getIgnoredChildrenFailures());
  return steps.map((_step, i) => {
    const id = stepId(job, i);
    if (failures.has(id)) return { failed: String(failures.get(id)) };
    return values.has(id) ? { result: values.get(id) } : undefined;
  });
}

function byId(byKey: Record<string, unknown>): Map<string, unknown> {
  return new Map(
    Object.entries(byKey).map(([key, value]) => [key.slice(key.lastIndexOf(':') + 1), value]),
  );
}

function stepId(job: Job, i: number): string {
  return `${job.id}-step-${i + 1}`;
}

async function begin(job: Job, ctx: HandlerContext, i: number, previous: unknown): Promise<void> {
  const step = (job.data as StepsData).steps[i]!;
  const data = previous === undefined ? step.data : { ...step.data, previous };
  await ctx.enqueue(step.queue, step.name ?? step.queue, data, {
    jobId: stepId(job, i),
    parent: { id: job.id!, queue: job.queueQualifiedName },
    // The parent must hear of it: it names what failed and what was left unrun.
    ignoreDependencyOnFailure: true,
  });
}

function previousOf(mode: StepsData['mode'], ends: Ends, i: number): unknown {
  if (mode !== 'chain' || i === 0) return undefined;
  return (ends[i - 1] as { result: unknown }).result ?? null;
}

/** A failed step fails the whole for good: its own attempts are spent. */
function failIfAnyFailed(steps: readonly Step[], ends: Ends, ctx: HandlerContext): void {
  const failed = ends.flatMap((end, i) =>
    end && 'failed' in end ? [`step ${i + 1} (${steps[i]?.queue}) failed: ${end.failed}`] : [],
  );
  if (failed.length === 0) return;
  const unrun = ends.flatMap((end, i) => (end ? [] : [`step ${i + 1} (${steps[i]?.queue})`]));
  ctx.fail(`${failed.join('; ')}${unrun.length > 0 ? `. Not run: ${unrun.join(', ')}.` : '.'}`);
}
