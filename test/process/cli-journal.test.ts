/** `holdfast journal` beside living journals, on orphans, and on damaged files. */
import {
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import pino from 'pino';
import { expect, it } from 'vitest';
import { createClient } from '../../src/create-client.ts';
import type { Client } from '../../src/queue/client.ts';
import { runCommand, startCommand } from '../support/command.ts';
import { journalConfig as configOf } from '../support/config.ts';
import { jobNumber, outcomeNumber } from '../support/journal-entries.ts';
import { journalFolder, openIn } from '../support/journal-folder.ts';
import { killedWith } from '../support/journal-orphan.ts';
import { freePort, startRedis } from '../support/redis-server.ts';

it('shows journals, entries and their soundness without Redis and beside a living owner', async () => {
  const dir = await journalFolder();
  const journal = await openIn(dir, { replica: 'living' });
  const position = await journal.append(jobNumber(1));
  await journal.append({ ...jobNumber(2), args: '{"password":"as it is"}' });
  await journal.append(outcomeNumber(3));
  await journal.refuse(position, 'missing parent');
  const run = (...args: string[]) => runCommand(['journal', ...args], configOf(dir));

  const status = await run('status', '--json');
  expect(status.code).toBe(0);
  expect(JSON.parse(status.stdout).journals).toMatchObject([
    { replica: 'living', owner: 'living', jobs: 1, outcomes: 1, refused: 1 },
  ]);
  expect((await run('status')).stdout).toMatch(/replica +owner[\s\S]*living +living +1 +1 +1/);

  const jobs = await run('list', '--type', 'job');
  expect(jobs.stdout).toMatch(/job-1 .*refused: missing parent\n.*job-2 .*unsent/);
  expect((await run('list', '--refused', '--json')).stdout).toContain('job-1');
  expect((await run('list', '--limit', '1')).stderr).toContain('more than 1');
  expect(JSON.parse((await run('list', '--job-id', 'job-2', '--json')).stdout)).toMatchObject([
    { replica: 'living', jobId: 'job-2', args: '{"password":"as it is"}' },
  ]);
  expect(JSON.parse((await run('list', '--job-id', 'job-', '--json')).stdout)).toHaveLength(3);
  expect(await run('list', '--limit', '0')).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('a whole number from 1'),
  });
  expect((await run('list', '--replica', 'nobody')).code).toBe(2);
  expect((await run('list', '--type', 'jobs')).code).toBe(2);

  const output = join(dir, 'export.ndjson');
  const exported = await run('export', '--output', output);
  expect(exported).toMatchObject({ code: 0, stderr: '3 entries.\n' });
  const lines = readFileSync(output, 'utf8').trim().split('\n');
  expect(lines.map((line) => JSON.parse(line).jobId)).toEqual(['job-1', 'job-2', 'job-3']);
  expect(statSync(output).mode & 0o777).toBe(0o600);
  expect((await run('export', '--queue', 'mail')).stdout.trim().split('\n')).toHaveLength(2);

  expect(await run('verify')).toMatchObject({ code: 0, stdout: 'living: sound\n' });
  const replayed = await run('replay', '--refused');
  expect(replayed).toMatchObject({ code: 0, stderr: expect.stringContaining('left alone') });
  expect(journal.stats()).toMatchObject({ jobs: 1, outcomes: 1, refused: 1 });
});

it('says by its exit code that a journal is damaged, and changes nothing', async () => {
  const dir = await journalFolder();
  const journal = await openIn(dir, { replica: 'gone' });
  await journal.append(jobNumber(1));
  await journal.close();
  const file = join(dir, 'gone', 'journal.db');
  const bytes = readFileSync(file);
  bytes[bytes.indexOf('job-1"')] = 0x20;
  writeFileSync(file, bytes);
  const { code, stdout } = await runCommand(['journal', 'verify'], configOf(dir));
  expect(code).toBe(1);
  expect(stdout).toContain('1 entries do not fit their checksum');
  expect(readFileSync(file)).toEqual(bytes);
});

it('says by its exit code that it cannot tell whose a journal is, and why', async () => {
  const dir = await journalFolder();
  const journal = await openIn(dir, { replica: 'odd' });
  await journal.append(jobNumber(1));
  await journal.close();
  const lock = join(dir, 'odd', 'lock.db');
  rmSync(lock);
  mkdirSync(lock);
  const run = (...args: string[]) => runCommand(['journal', ...args], configOf(dir));
  const why = expect.stringMatching(/odd: .*its lock cannot be tried: .*disk I\/O error/);
  expect(await run('status')).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/odd +unknown +1 /),
    stderr: why,
  });
  const listed = await run('list');
  expect(listed).toMatchObject({ code: 1, stderr: why });
  expect(listed.stdout).toContain('job-1');
  const verified = await run('verify');
  expect(verified.code).toBe(1);
  expect(verified.stdout).toMatch(/^odd: not checked\n {2}its lock cannot be tried/);
  const replayed = await run('replay', '--json');
  expect(replayed).toMatchObject({ code: 1, stderr: why });
  expect(replayed.stderr).not.toContain('living owner');
  expect(replayed.stderr).not.toContain('nothing to replay');
  expect(JSON.parse(replayed.stdout)).toMatchObject({ written: 0, living: [], unknown: ['odd'] });
});

it('lists and exports all that can be read, and says what cannot', async () => {
  const dir = await journalFolder();
  for (const replica of ['a-broken', 'b-flipped', 'c-sound']) {
    const journal = await openIn(dir, { replica });
    await journal.append(jobNumber(1));
    await journal.append(jobNumber(2));
    await journal.close();
  }
  const flipped = join(dir, 'b-flipped', 'journal.db');
  const bytes = readFileSync(flipped);
  bytes[bytes.indexOf('job-1"')] = 0x20;
  writeFileSync(flipped, bytes);
  writeFileSync(join(dir, 'a-broken', 'journal.db'), bytes.subarray(0, 5000));
  const run = (...args: string[]) => runCommand(['journal', ...args], configOf(dir));

  const output = join(dir, 'export.ndjson');
  const exported = await run('export', '--output', output);
  expect(exported.code, exported.stderr).toBe(1);
  const lines = readFileSync(output, 'utf8').trim().split('\n');
  expect(
    lines.map((line) => JSON.parse(line)).map(({ replica, jobId }) => [replica, jobId]),
  ).toEqual([
    ['b-flipped', 'job-2'],
    ['c-sound', 'job-1'],
    ['c-sound', 'job-2'],
  ]);
  expect(exported.stderr).toMatch(/a-broken: .*damaged/);
  expect(exported.stderr).toMatch(/b-flipped: 1 damaged entry/);

  const listed = await run('list');
  expect(listed).toMatchObject({ code: 1, stderr: expect.stringContaining('a-broken: ') });
  expect(listed.stdout).toMatch(/c-sound +2 /);
});

it('says that a log was cut, whatever was asked before, and keeps what is left of it', async () => {
  const dir = await journalFolder();
  const folder = await killedWith(dir, 'gone', [jobNumber(1), jobNumber(2), jobNumber(3)]);
  truncateSync(folder.wal, 6_000);
  const redis = await startRedis();
  const run = (...args: string[]) => runCommand(['journal', ...args], configOf(dir, redis.port));
  const isCut = expect.stringContaining('the write-ahead log ends after');

  const status = await run('status');
  expect(status).toMatchObject({ code: 1, stderr: isCut });
  expect(status.stdout).toMatch(/gone +none +– +– +–/);
  for (const name of ['list', 'export']) {
    expect(await run(name), name).toMatchObject({ code: 1, stderr: isCut });
  }
  expect(await run('verify')).toMatchObject({ code: 1, stdout: isCut });
  const replayed = await run('replay', '--json');
  expect(replayed).toMatchObject({ code: 1, stderr: isCut });
  const { damaged } = JSON.parse(replayed.stdout);
  expect(damaged).toMatchObject([{ replica: 'gone', reasons: [isCut] }]);
  expect(existsSync(join(damaged[0].quarantine, 'journal.db-wal'))).toBe(true);
});

it('names a journal that a later release wrote, and leaves it as it is', async () => {
  const dir = await journalFolder();
  const journal = await openIn(dir, { replica: 'later' });
  await journal.append(jobNumber(1));
  await journal.close();
  const file = join(dir, 'later', 'journal.db');
  const later = new DatabaseSync(file);
  later.exec("PRAGMA user_version = 7; UPDATE meta SET value = '7' WHERE key = 'format'");
  later.close();
  const bytes = readFileSync(file);
  const redis = await startRedis();
  const run = (...args: string[]) => runCommand(['journal', ...args], configOf(dir, redis.port));

  for (const name of ['status', 'list', 'export']) {
    const stderr = expect.stringMatching(/later.* format 7 is of a later release/);
    expect(await run(name), name).toMatchObject({ code: 1, stderr });
  }
  expect(await run('verify')).toMatchObject({
    code: 1,
    stdout: expect.stringMatching(/^later: not checked\n.*format 7/),
  });
  for (const options of [[], ['--refused']]) {
    const { code, stderr } = await run('replay', ...options);
    expect(code).toBe(1);
    expect(stderr.match(/later: .*has format 7; .*knows formats up to \d/g)).toHaveLength(1);
  }
  expect(readFileSync(file)).toEqual(bytes);
});

it('says in one sentence that the folder of journals is none', async () => {
  const dir = join(await journalFolder(), 'file');
  writeFileSync(dir, 'x');
  for (const name of ['status', 'list', 'export', 'verify', 'replay']) {
    const { code, stderr } = await runCommand(['journal', name], configOf(dir));
    expect(code, name).toBe(78);
    expect(stderr).toContain(`JOURNAL_DIR: ${dir} is not valid; name a folder`);
  }
});

it('finds and replays a journal that came out of a backup without its lock', async () => {
  const dir = await journalFolder();
  const { lock } = await killedWith(dir, 'restored', [jobNumber(1)]);
  rmSync(lock);
  const redis = await startRedis();
  const run = (...args: string[]) => runCommand(['journal', ...args], configOf(dir, redis.port));
  expect((await run('status')).stdout).toMatch(/restored +none +1/);
  expect(existsSync(lock)).toBe(false);
  expect((await run('list')).stdout).toContain('job-1');
  // What the entry of a test carries is no job.
  expect((await run('replay')).stderr).toMatch(/Redis refuses 1/);
});

it('ends an export quietly when its reader has seen enough', async () => {
  const dir = await journalFolder();
  const journal = await openIn(dir, { replica: 'living' });
  await journal.appendAll(Array.from({ length: 3_000 }, (_, n) => outcomeNumber(n)));
  const command = startCommand(['journal', 'export'], configOf(dir));
  await command.printed();
  command.closeStdout();
  expect(await command.result).toMatchObject({ code: 0, stderr: '' });
});

it.runIf(existsSync('/dev/full'))('says that its output has no room', async () => {
  const dir = await journalFolder();
  await (await openIn(dir, { replica: 'gone' })).append(jobNumber(1));
  for (const name of ['status', 'export']) {
    const { code, stderr } = await runCommand(['journal', name], configOf(dir), '', '/dev/full');
    expect(code, name).toBe(2);
    expect(stderr).toMatch(/^error stdout cannot be written \(ENOSPC\)\.[^\n]*\n$/);
  }
});

it('writes what a dead process had accepted to Redis, once it is there, and clears up', async () => {
  const dir = await journalFolder();
  const port = await freePort();
  const client = await createClient({
    redis: `redis://127.0.0.1:${port}`,
    journal: dir,
    name: 'dead',
    log: pino({ level: 'silent' }),
  });
  const ids: string[] = [];
  for (let n = 0; n < 5; n++) {
    const { id, stored } = await client.enqueue('mail', 'send', { n });
    expect(stored).toBe('journal');
    ids.push(id);
  }
  expect(await client.close()).toMatchObject({ jobs: 5 });
  // Something of a person's is no journal.
  mkdirSync(join(dir, 'notes'));

  const away = await runCommand(['journal', 'replay', '--timeout', '1s'], configOf(dir, port));
  expect(away.code).toBe(69);
  expect(away.stderr).toContain('5 entries kept in ');
  expect(away.stderr).toContain('Redis is away (refused): nothing listens');
  expect(away.stderr).toMatch(/Check that redis-server runs.* run holdfast journal replay again/);
  const exported = await runCommand(['journal', 'export', '--type', 'job'], configOf(dir, port));
  const data = exported.stdout.trim().split('\n');
  expect(data.map((line) => JSON.parse(line).data)).toEqual(ids.map((_, n) => ({ n })));

  const redis = await startRedis({ port });
  const there = await runCommand(['journal', 'replay'], configOf(dir, port));
  expect(there).toMatchObject({
    code: 0,
    stderr: expect.stringContaining('Written to Redis: 5 entries'),
  });
  // The newest is the first of the list.
  expect(await redis.command('LRANGE', 'bull:mail:wait', '0', '-1')).toEqual(ids.toReversed());
  const again = await runCommand(['journal', 'replay'], configOf(dir, port));
  expect(again).toMatchObject({ code: 0 });
  expect(await redis.command('LLEN', 'bull:mail:wait')).toBe(5);
});

it('writes what Redis refused once what stood in its way is gone', async () => {
  const dir = await journalFolder();
  const redis = await startRedis();
  const refused = async (client: Client) => {
    await expect.poll(() => client.job('mail', 'child')).toMatchObject({ state: 'refused' });
    await client.close();
  };
  const options = { redis: redis.url, journal: dir, name: 'dead', log: pino({ level: 'silent' }) };
  const client = await createClient({ ...options, durability: 'strict' });
  const parent = { id: 'dad', queue: 'bull:mail' };
  await client.enqueue('mail', 'send', {}, { jobId: 'child', parent });
  await refused(client);
  const again = await runCommand(['journal', 'replay', '--refused'], configOf(dir, redis.port));
  expect(again.code, again.stderr).toBe(1);
  expect(again.stderr).toContain('Redis refuses 1');

  const father = await createClient({ ...options, name: 'father' });
  await father.enqueue('mail', 'send', {}, { jobId: 'dad' });
  await father.close();
  const there = await runCommand(['journal', 'replay', '--refused'], configOf(dir, redis.port));
  expect(there).toMatchObject({ code: 0, stderr: expect.stringContaining('1 entry') });
  expect(await redis.command('LRANGE', 'bull:mail:wait', '0', '-1')).toContain('child');
});
