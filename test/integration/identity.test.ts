/** Which life of which server is at the other end, as real servers tell it through their changes of role. */
import { afterEach, beforeEach, expect, it } from 'vitest';
import {
  compareIdentity,
  type IdentityChange,
  parseIdentity,
  type ServerIdentity,
} from '../../src/redis/identity.ts';
import { type RedisServer, startRedis } from '../support/redis-server.ts';

let one: RedisServer;
let two: RedisServer;

beforeEach(async () => {
  one = await startRedis({ args: ['--repl-diskless-sync-delay', '0'] });
  two = await startRedis({ args: ['--repl-diskless-sync-delay', '0'] });
});
afterEach(async () => {
  await one.stop();
  await two.stop();
});

async function identityOf(server: RedisServer): Promise<ServerIdentity> {
  return parseIdentity(String(await server.command('INFO')));
}

/** What became of a server that was last heard at `heardAt`; default: just now. */
async function changeOf(
  before: ServerIdentity,
  server: RedisServer,
  heardAt = performance.now(),
): Promise<IdentityChange> {
  return compareIdentity(before, await identityOf(server), performance.now() - heardAt);
}

/** Servers tell their age in whole seconds. */
async function untilOld(server: RedisServer): Promise<void> {
  await expect.poll(async () => (await identityOf(server)).uptimeMs).toBeGreaterThan(1000);
}

async function follow(replica: RedisServer, master: RedisServer): Promise<void> {
  await replica.command('REPLICAOF', master.host, master.port);
  await expect
    .poll(() => replica.command('INFO', 'replication'))
    .toContain('master_link_status:up');
}

it('is the same while replicas come to a master and leave it, though its history has a new id', async () => {
  const alone = await identityOf(one);
  await follow(two, one);
  const followed = await identityOf(one);
  expect(followed.replicationId).not.toBe(alone.replicationId);
  expect(compareIdentity(alone, followed, 0)).toBe('same');
  await one.command('CONFIG', 'SET', 'repl-backlog-ttl', '1');
  await two.kill();
  await expect
    .poll(async () => (await identityOf(one)).replicationId)
    .not.toBe(followed.replicationId);
  expect(await changeOf(followed, one)).toBe('same');
});

it('has failed over to a replica that is promoted', async () => {
  await follow(two, one);
  await untilOld(two);
  const before = await identityOf(one);
  await one.kill();
  await two.command('REPLICAOF', 'NO', 'ONE');
  expect(await changeOf(before, two)).toBe('failed-over');
});

it('has failed over when it followed another for a while, and may have lost what it had', async () => {
  const before = await identityOf(one);
  await follow(one, two);
  await one.command('REPLICAOF', 'NO', 'ONE');
  expect(await changeOf(before, one)).toBe('failed-over');
});

it('has restarted when it has another run id', async () => {
  const before = await identityOf(one);
  await one.kill();
  await one.restart();
  expect(await changeOf(before, one)).toBe('restarted');
});

it('has restarted when it comes back from a file that holds the history which its replicas followed', async () => {
  await follow(two, one);
  // The save for the replica may not have ended.
  await expect.poll(() => one.command('SAVE').catch(() => 'busy')).toBe('OK');
  const before = await identityOf(one);
  const heardAt = performance.now();
  await one.kill();
  await one.restart();
  expect((await identityOf(one)).replicationIdBefore).toBe(before.replicationId);
  expect(await changeOf(before, one, heardAt)).toBe('restarted');
});
