/** Plays single rows and prints what was seen: `node test/outage/play.ts [--plain] 1.1 2.2`. */
import { stopAllProxies } from '../support/proxy.ts';
import { stopAllRedis } from '../support/redis-server.ts';
import { formatRow, tableHead } from './harness/report.ts';
import { runRow } from './harness/run-row.ts';
import { killAllWorkers, type Program } from './harness/worker-process.ts';
import { rows } from './rows/index.ts';

const args = process.argv.slice(2);
const program: Program = args.includes('--plain') ? 'plain' : 'holdfast';
const wanted = args.filter((arg) => !arg.startsWith('--'));
process.stdout.write(`${tableHead}\n`);
for (const row of rows) {
  if (!wanted.some((id) => row.id === id || row.id.startsWith(`${id}.`))) continue;
  const result = await runRow(row, program).catch((error: unknown) => {
    process.stdout.write(`${row.id} could not be played: ${error}\n`);
    return undefined;
  });
  if (!result) continue;
  process.stdout.write(`${formatRow(result)}\n`);
  for (const line of [...result.problems, ...result.log]) process.stdout.write(`       ${line}\n`);
}
await killAllWorkers();
await stopAllProxies();
await stopAllRedis();
