/**
 * `npm run bench:outage`: how fast the worker side sees an outage and comes back, and what it costs while
 * it idles. Two worker processes of 10 slots against a real redis-server that is killed, frozen, cut off.
 *
 * `--only killed,frozen,half-open,throughput,idle --repetitions 20 --idle-seconds 60 --json`. Exits with 1
 * when a bound is not met.
 */
import { parseArgs } from 'node:util';
import { stopAllProxies } from '../test/support/proxy.ts';
import { stopAllRedis } from '../test/support/redis-server.ts';
import { idle } from './recovery-idle.ts';
import { halfOpen, returns, throughput } from './recovery-outages.ts';
import { draw, type Measured } from './recovery-report.ts';

const parts = ['killed', 'frozen', 'half-open', 'throughput', 'idle'] as const;
const { values } = parseArgs({
  options: {
    only: { type: 'string', default: parts.join() },
    repetitions: { type: 'string', default: '20' },
    'idle-seconds': { type: 'string', default: '60' },
    json: { type: 'boolean', default: false },
  },
});
const repetitions = Number(values.repetitions);
const wanted = values.only.split(',');
const measured: Measured[] = [];
for (const part of parts) {
  if (!wanted.includes(part)) continue;
  if (part === 'idle') measured.push(...(await idle(Number(values['idle-seconds']))));
  else if (part === 'throughput') measured.push(...(await throughput()));
  else if (part === 'half-open') measured.push(...(await halfOpen(Math.ceil(repetitions / 4))));
  else measured.push(...(await returns(part, repetitions)));
}
await stopAllProxies();
await stopAllRedis();
process.stdout.write(values.json ? `${JSON.stringify(measured, null, 2)}\n` : draw(measured));
// Whatever a library still tries: the measurements are over.
process.exit(measured.some(({ value, bound }) => value > bound) ? 1 : 0);
