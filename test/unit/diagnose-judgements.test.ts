/** What the doctor makes of what it has seen; the numbers that no test server can have. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { judgeLibrary, judgeQueues } from '../../src/diagnose/bullmq.ts';
import { judgeSkew } from '../../src/diagnose/clock.ts';
import { judgeReplication } from '../../src/diagnose/configuration.ts';
import { judgeLimits, readLimits } from '../../src/diagnose/container.ts';
import { exitCodeFor } from '../../src/diagnose/finding.ts';
import { parseInfo } from '../../src/diagnose/info.ts';
import { judgeDisk, judgeFolders } from '../../src/diagnose/journal.ts';
import { judgeLatency } from '../../src/diagnose/latency.ts';
import { judgePlainReply } from '../../src/diagnose/protocol.ts';
import {
  judgeClients,
  judgeMemory,
  judgeDisk as judgeSaves,
} from '../../src/diagnose/resources.ts';
import { hider } from '../../src/diagnose/secrets.ts';
import { judgeHistory, judgeServer } from '../../src/diagnose/server.ts';

const MIB = 1024 ** 2;
const NONE = new Map<string, string>();

function container(files: Record<string, string>): string {
  const root = mkdtempSync(join(tmpdir(), 'holdfast-test-cgroup-'));
  onTestFinished(() => rmSync(root, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(root, name, '..'), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  return root;
}

it('reads the limits of a container in both versions of cgroups', async () => {
  const second = container({
    'proc/self/cgroup': '0::/\n',
    'sys/fs/cgroup/memory.max': `${256 * MIB}\n`,
    'sys/fs/cgroup/memory.current': `${250 * MIB}\n`,
    'sys/fs/cgroup/memory.events': 'low 0\noom 3\noom_kill 2\n',
    'sys/fs/cgroup/cpu.max': '50000 100000\n',
    'sys/fs/cgroup/cpu.stat': 'usage_usec 1\nnr_periods 100\nnr_throttled 40\n',
  });
  const limits = await readLimits(second);
  expect(limits).toEqual({
    memoryMax: 256 * MIB,
    memoryUsed: 250 * MIB,
    oomKills: 2,
    cpus: 0.5,
    throttledShare: 0.4,
  });
  expect(judgeLimits(limits!, 4096 * MIB, 8, 1).map(({ title }) => title)).toEqual([
    'Processes of this container were killed for lack of memory: 1 just now',
    'The memory of this container is 98 % used',
    'Node may grow beyond the memory limit before it collects garbage: it would be killed',
    'This container is held back for lack of CPU in 40 % of its time slices',
  ]);
  const first = container({
    'sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712\n',
    'sys/fs/cgroup/memory/memory.usage_in_bytes': `${MIB}\n`,
    'sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1\n',
  });
  expect(judgeLimits((await readLimits(first))!, 4096 * MIB, 8, 0)).toMatchObject([
    { status: 'pass', evidence: 'no memory limit, all 8 CPUs' },
  ]);
  expect(await readLimits(container({}))).toBeUndefined();
});

it('tells when memory is full from two samples', () => {
  const at = (used: number) =>
    parseInfo(`used_memory:${used * MIB}\r\nmaxmemory:${1000 * MIB}\r\n`);
  expect(judgeMemory(at(100), at(105), 5000)).toMatchObject([
    {
      status: 'warn',
      condition: 'memory-filling',
      evidence: expect.stringMatching(/full in 15 min/),
    },
  ]);
  expect(judgeMemory(at(100), at(100), 5000)).toMatchObject([{ status: 'pass' }]);
  expect(judgeMemory(at(850), undefined, 5000)).toMatchObject([
    { status: 'warn', title: 'Memory is 85 % full' },
  ]);
});

it('tells which replica is behind', () => {
  const info = parseInfo(
    'role:master\r\nmaster_repl_offset:5000000\r\nslave0:ip=10.0.0.8,port=6379,state=online,offset=5000000,lag=0\r\nslave1:ip=10.0.0.9,port=6379,state=online,offset=1000000,lag=40\r\n',
  );
  expect(judgeReplication(NONE, info)).toMatchObject([
    {
      status: 'warn',
      condition: 'replica-lagging',
      evidence: '10.0.0.9:6379 online, 40 s and 3.8 MiB behind',
    },
  ]);
  const wanted = new Map([['min-replicas-to-write', '2']]);
  expect(judgeReplication(wanted, info)).toMatchObject([{ condition: 'no-replicas' }]);
});

it('names an old server and a strange one', () => {
  const of = (text: string) => judgeServer(parseInfo(text), text).map(({ title }) => title);
  expect(of('redis_version:5.0.14\r\nrole:master\r\n')).toEqual(['Redis 5.0.14 is too old']);
  expect(of('dragonfly_version:1.2\r\nredis_version:7.0.0\r\nrole:master\r\n')).toContainEqual(
    expect.stringContaining('Dragonfly is not among'),
  );
});

it('tells outages of the last day apart from a quiet one', () => {
  expect(judgeHistory([], false)).toEqual([]);
  expect(judgeHistory([['refused']], false)).toMatchObject([{ status: 'pass' }]);
  const many = [['refused', 'server-restarted'], ['frozen'], ['server-restarted']];
  expect(judgeHistory(many, false)).toMatchObject([
    { status: 'warn', evidence: '3 in 24 h, 2 with a restart' },
  ]);
});

it('warns of what is counted since a start only while it grows', () => {
  const info = (rejected: number, delayed: number) =>
    new Map([
      ['connected_clients', '5'],
      ['maxclients', '10000'],
      ['rejected_connections', `${rejected}`],
      ['rdb_last_bgsave_status', 'ok'],
      ['aof_delayed_fsync', `${delayed}`],
    ]);
  expect(judgeClients(info(3, 0), info(3, 0))).toMatchObject([
    { status: 'pass', evidence: expect.stringContaining('3 rejected since the start') },
  ]);
  expect(judgeClients(info(3, 0), info(5, 0))).toMatchObject([
    { status: 'warn', title: 'Redis turns clients away: 2 just now' },
  ]);
  expect(judgeSaves(info(0, 7), info(0, 7))).toMatchObject([
    {
      status: 'pass',
      evidence: expect.stringContaining('7 delayed fsyncs since the start of the server'),
    },
  ]);
  expect(judgeSaves(info(0, 7), info(0, 8))).toMatchObject([
    { status: 'warn', evidence: expect.stringContaining('aof_delayed_fsync grew by 1') },
  ]);
  const limits = { memoryMax: 512 * MIB, memoryUsed: MIB, cpus: undefined, throttledShare: 0 };
  expect(judgeLimits({ ...limits, oomKills: 2 }, 256 * MIB, 8, 0)).toMatchObject([
    { status: 'pass', evidence: expect.stringContaining('2 kills for lack of memory') },
  ]);
});

it.each([
  ['5.81.2', 'warn', 'bullmq#4378'],
  ['bullmq:6.0.0', 'fail', 'bullmq#4585'],
  ['6.3.2', 'fail', 'bullmq#4585'],
])('names BullMQ %s as one that falls silent', (version, status, thread) => {
  expect(judgeLibrary(version, 'here')).toMatchObject([
    { status, evidence: expect.stringContaining(thread) },
  ]);
});

it.each(['5.81.3', '5.99.0', '6.3.3', '6.7.0', undefined])(
  'has nothing to say of BullMQ %s',
  (version) => {
    expect(judgeLibrary(version, 'here')).toEqual([]);
  },
);

it('says of one job that it waits', () => {
  const queue = {
    ...{ name: 'mail', waiting: 1, active: 0, delayed: 0, failed: 0, isPaused: false },
    ...{ oldestWaitMs: 3_600_000, unlocked: [], version: undefined, stalledOut: 0 },
    ...{ failedLastHour: 0, completedLastHour: 0 },
  };
  const said = (waiting: number) =>
    judgeQueues([{ ...queue, waiting }], new Set(), 30_000).map(({ evidence }) => evidence);
  expect(said(1)[0]).toMatch(/^1 waits, 0 active/);
  expect(said(1)[1]).toMatch(/^1 job waits;/);
  expect(said(2)[0]).toMatch(/^2 wait, 0 active/);
  expect(said(2)[1]).toMatch(/^2 jobs wait;/);
});

it('takes a clock for right that differs by no more than the answer was on its way', () => {
  expect(judgeSkew(1500, 1000).status).toBe('pass');
  expect(judgeSkew(-5000, 1)).toMatchObject({ status: 'warn' });
  expect(judgeSkew(-5000, 1).title).toContain('behind');
});

it('fails answers that the service would take for a frozen server', () => {
  expect(judgeLatency([5, 1200, 5], 2000)).toMatchObject({ status: 'fail', condition: 'slow' });
  // The service calls it so from 500 ms on.
  expect(judgeLatency([600, 600, 600], 2000)).toMatchObject({ status: 'warn', condition: 'slow' });
  expect(judgeLatency([1, 1, 400], 2000)).toMatchObject({ status: 'warn' });
  expect(judgeLatency([100, 100, 100], 2000)).not.toHaveProperty('condition');
  expect(judgeLatency([1, 1, 2], 2000).status).toBe('pass');
});

it('recognises who speaks', () => {
  const speaks = (text: string) => judgePlainReply(Buffer.from(text, 'latin1')).speaks;
  expect(speaks('+PONG\r\n')).toBe('redis');
  expect(speaks('-NOAUTH Authentication required.\r\n')).toBe('redis');
  expect(speaks('-ERR max number of clients reached\r\n')).toBe('redis');
  expect(speaks('HTTP/1.1 400 Bad Request\r\n')).toBe('http');
  expect(speaks('\x15\x03\x01\x00\x02\x02\x46')).toBe('tls');
  expect(speaks('220 mail.example ESMTP\r\n')).toBe('other');
  expect(speaks('')).toBe('nothing');
});

it('names a journal without room, without rights, and without an owner', () => {
  const disk = { folder: '/j', isWritable: true, freeBytes: 1e12, type: 0xef53 };
  expect(judgeDisk('/j', disk, MIB)).toMatchObject([{ status: 'pass' }]);
  expect(judgeDisk('/j', { ...disk, freeBytes: MIB }, MIB)).toMatchObject([{ status: 'fail' }]);
  expect(judgeDisk('/j', { ...disk, freeBytes: 100 * MIB }, 256 * MIB)).toMatchObject([
    { status: 'warn' },
  ]);
  expect(judgeDisk('/j', { ...disk, isWritable: false }, MIB)).toMatchObject([
    { status: 'fail', title: "The journal's folder cannot be written: /j" },
  ]);
  expect(judgeDisk('/j', { ...disk, type: 0x6969 }, MIB)).toMatchObject([
    { status: 'fail', title: expect.stringContaining('NFS') },
  ]);
  const folder = {
    replica: 'a',
    path: '/j/a',
    owner: 'none' as const,
    lockFault: undefined,
    outcomes: 1,
    jobs: 1,
    refused: 1,
    bytes: 1,
    oldestAt: undefined,
    quarantined: [],
    unreadable: undefined,
  };
  expect(judgeFolders([folder]).map(({ title }) => title)).toEqual([
    '2 entries of a have no owner: its process has died',
    'Redis refuses 1 entry of a for good',
  ]);
  const unknown = { ...folder, owner: 'unknown' as const, lockFault: 'EIO', refused: 0 };
  expect(judgeFolders([unknown])).toMatchObject([
    {
      status: 'fail',
      title: expect.stringContaining('cannot be told'),
      evidence: expect.stringContaining('EIO'),
    },
  ]);
});

it('hides every shape of a secret, and leaves words alone', () => {
  const hide = hider(['p@ss/word', 'ab', undefined]);
  expect(hide('redis://u:p@ss/word@h p@ss/word p%40ss%2Fword absent')).toBe(
    'redis://u:***@h *** *** absent',
  );
});

it('exits with the worst of all verdicts', () => {
  expect(exitCodeFor([{ status: 'pass' }, { status: 'skip' }])).toBe(0);
  expect(exitCodeFor([{ status: 'warn' }, { status: 'pass' }])).toBe(1);
  expect(exitCodeFor([{ status: 'warn' }, { status: 'fail' }])).toBe(2);
});
