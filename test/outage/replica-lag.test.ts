/** The early warning of a replica of Redis that stands still: after ten seconds of it. */
import { Redis } from 'ioredis';
import { expect, it } from 'vitest';
import { watchEarly } from '../support/early-warnings.ts';
import { startRedis } from '../support/redis-server.ts';

it('replica-lagging: a replica that stands still, until it goes on', async () => {
  await using server = await startRedis({ args: ['--repl-diskless-sync-delay', '0'] });
  await using replica = await startRedis();
  await replica.command('REPLICAOF', server.host, server.port);
  await expect
    .poll(() => server.command('INFO', 'replication'))
    .toMatch(/state=online,.*lag=[01]\b/);
  const { warnings, stand } = watchEarly(new Redis(server.url));
  replica.freeze();
  await expect.poll(stand, { timeout: 20_000 }).toEqual(['replica-lagging']);
  expect(warnings.list()[0]!.evidence).toMatch(/^a replica has not acknowledged for 1\d s$/);
  replica.thaw();
  await expect.poll(stand).toEqual([]);
});
