/** `holdfast doctor` and who it is let in as: passwords, rights, managed servers; and no secret gets out. */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { examine, problems, skipped, theProblem } from '../support/doctor.ts';
import { freePort, type RedisServer, startRedis } from '../support/redis-server.ts';

describe('login and rights', () => {
  it('a wrong password, and none where one is wanted', async () => {
    await using server = await startRedis({ args: ['--requirepass', 'hunter22'] });
    const wrong = await examine(`redis://:other33@127.0.0.1:${server.port}`);
    expect(theProblem(wrong)).toMatchObject({
      check: 'auth',
      status: 'fail',
      condition: 'wrong-password',
    });
    expect(theProblem(await examine(server.url))).toMatchObject({
      check: 'auth',
      condition: 'auth-required',
      remedy: expect.stringContaining('REDIS_PASSWORD'),
    });
    const rotated = await examine(server.url, { redis: { passwordFile: '/nowhere/password' } });
    expect(theProblem(rotated)).toMatchObject({ title: 'The password file cannot be read' });
  });

  async function withUser(server: RedisServer, ...rules: string[]): Promise<string> {
    await server.command('ACL', 'SETUSER', 'app', 'on', '>hunter22', ...rules);
    return `redis://app:hunter22@127.0.0.1:${server.port}`;
  }

  it('a user without EVALSHA, and the command that grants it', async () => {
    await using server = await startRedis({ aof: true });
    const url = await withUser(server, '~bull:*', '+@all', '-evalsha', '-xadd');
    const missing = {
      check: 'acl',
      status: 'fail',
      condition: 'no-permission',
      title: expect.stringContaining('may not run EVALSHA, XADD'),
    };
    expect(theProblem(await examine(url))).toMatchObject({
      ...missing,
      remedy: expect.stringContaining('ACL SETUSER app +evalsha +xadd '),
    });
    // The same where the user may not ask: each command is tried.
    await server.command('ACL', 'SETUSER', 'app', '-acl');
    expect(theProblem(await examine(url))).toMatchObject({
      ...missing,
      evidence: expect.stringContaining('asked with tries'),
    });
    expect(await server.command('KEYS', '*')).toEqual([]);
  });

  it('the user of config/redis-acl.conf may all that is needed', async () => {
    await using server = await startRedis({ aof: true });
    const rules = /^user holdfast (.*)$/m.exec(readFileSync('config/redis-acl.conf', 'utf8'))![1]!;
    await server.command('ACL', 'SETUSER', 'holdfast', ...rules.split(' '), '>hunter22');
    const report = await examine(`redis://holdfast:hunter22@127.0.0.1:${server.port}`);
    expect(problems(report)).toEqual([]);
    expect(skipped(report, 'configuration')).toHaveLength(1);
    expect(skipped(report, 'bullmq')).toEqual([
      'Only queues of QUEUES and of living replicas: listing keys (SCAN) is not allowed here',
    ]);
  });

  it('a user without the key pattern', async () => {
    await using server = await startRedis({ aof: true });
    const url = await withUser(server, '~other:*', '+@all');
    for (const rule of ['+acl', '-acl']) {
      await server.command('ACL', 'SETUSER', 'app', rule);
      const found = problems(await examine(url)).find(({ check }) => check === 'acl');
      expect(found).toMatchObject({ condition: 'no-permission' });
      expect(found?.title).toContain('touch keys bull:*');
      expect(found?.remedy).toContain('~bull:*');
    }
  });

  it('a managed Redis without CONFIG: says so and goes on', async () => {
    await using server = await startRedis({
      args: ['--rename-command', 'CONFIG', '', '--maxmemory-policy', 'allkeys-lru'],
    });
    const report = await examine(server.url);
    expect(skipped(report, 'configuration')).toEqual([
      'CONFIG is not allowed here, as usual with managed Redis; only what INFO shows is judged',
    ]);
    expect(problems(report)).toMatchObject([
      { check: 'configuration', title: expect.stringContaining('allkeys-lru') },
      { check: 'configuration', title: expect.stringContaining('no append-only file') },
    ]);
    expect(report.findings.at(-1)?.check).toBe('container');
  });

  it('a user who may only do what is needed: nothing is wrong, and what cannot be seen is skipped', async () => {
    await using server = await startRedis({ aof: true });
    const url = await withUser(server, '~bull:*', '+@all', '-@admin', '-@dangerous', '+info');
    const report = await examine(url);
    expect(problems(report)).toEqual([]);
    expect(skipped(report, 'configuration')).toHaveLength(1);
  });
});

it('never shows a password, whatever it looks like and wherever the doctor stops', async () => {
  await using server = await startRedis({ aof: true, args: ['--requirepass', 'something-else'] });
  const closed = await freePort();
  await fc.assert(
    fc.asyncProperty(
      fc
        .string({ minLength: 6, maxLength: 30, unit: 'grapheme-ascii' })
        .filter((s) => /\w{3}/.test(s)),
      fc.boolean(),
      fc.boolean(),
      async (password, isInUrl, isUp) => {
        const port = isUp ? server.port : closed;
        const part = isInUrl ? `app:${encodeURIComponent(password)}@` : '';
        const report = await examine(`redis://${part}127.0.0.1:${port}`, {
          redis: isInUrl ? {} : { password },
        });
        const said = [
          report.target,
          ...report.findings.flatMap((f) => [f.title, f.evidence, f.remedy]),
        ];
        expect(report.exitCode).toBe(2);
        for (const text of said) {
          expect(text).not.toContain(password);
          expect(text).not.toContain(encodeURIComponent(password));
        }
      },
    ),
    { numRuns: 20 },
  );
});
