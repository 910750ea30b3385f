/**
 * The clocks of this host and of the server: delays, schedules and ages of jobs are told by the clock of
 * whoever adds them, locks and fences by the server's.
 */
import { durationText } from './amounts.ts';
import { fail, type Judged, pass, warn } from './finding.ts';
import type { Check } from './scene.ts';

/** Below this nobody notices, ms. */
const SKEW_WARN_MS = 1000;
/** From here on delayed jobs run visibly early or late, ms. */
const SKEW_FAIL_MS = 30_000;

export const clock: Check = {
  name: 'clock',
  label: 'Clock',
  layer: 'redis',
  deadlineMs: 4000,
  run: async ({ link, clock: ours }) => {
    if (link === undefined) return [];
    const { client } = link.servers()[0]!;
    const before = ours.wall();
    const [seconds, micros] = (await link.ask('TIME', client.time())) as unknown as string[];
    const after = ours.wall();
    const server = Number(seconds) * 1000 + Number(micros) / 1000;
    return [judgeSkew((before + after) / 2 - server, (after - before) / 2)];
  },
};

/** Pure. `skewMs`: our clock minus the server's, known to within `errorMs`. */
export function judgeSkew(skewMs: number, errorMs: number): Judged {
  const size = Math.max(0, Math.abs(skewMs) - errorMs);
  const where = skewMs > 0 ? 'ahead of' : 'behind';
  const evidence = `this host is ${durationText(Math.abs(skewMs))} ${where} the server, ± ${durationText(errorMs)}`;
  if (size < SKEW_WARN_MS) return pass('The clocks of this host and of Redis agree', evidence);
  const remedy =
    'Let both hosts keep their time with NTP (timedatectl set-ntp true; chronyc tracking), and correct the one that is wrong.';
  const title = `The clock of this host is ${durationText(size)} ${where} that of Redis`;
  const cost = `${evidence}; jobs that are delayed or scheduled here run ${skewMs > 0 ? 'late' : 'early'} on hosts whose clock is right`;
  return size >= SKEW_FAIL_MS ? fail(title, cost, remedy) : warn(title, cost, remedy);
}
