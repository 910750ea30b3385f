/**
 * The server's configuration, as far as it decides whether jobs survive: eviction, persistence,
 * timeouts, limits, replication. Managed offers hide CONFIG: then what INFO shows is judged alone.
 */
import { isIP } from 'node:net';
import { bytesText } from './amounts.ts';
import { fail, type Judged, ofCondition, pass, skip, warn } from './finding.ts';
import { type Info, numberOf, replicasOf } from './info.ts';
import { isNotAllowed, type Link, type Server } from './link.ts';
import type { Check } from './scene.ts';
import type { Target } from './target.ts';

/** Asked one by one: Redis 6 takes one pattern at a time, and passwords are never asked for. */
const NAMES = [
  'maxmemory',
  'maxmemory-policy',
  'appendonly',
  'appendfsync',
  'save',
  'stop-writes-on-bgsave-error',
  'timeout',
  'tcp-keepalive',
  'maxclients',
  'min-replicas-to-write',
  'min-replicas-max-lag',
  'protected-mode',
  'client-output-buffer-limit',
  'repl-backlog-size',
] as const;
/** Below this idle time Redis would close connections that merely wait for their next pulse, seconds. */
const TIMEOUT_SECONDS_MIN = 30;
/** A replica uses three to five connections and two for each queue; a small fleet needs this many. */
const CLIENTS_MIN = 100;
/** Bytes of an answer that BullMQ may ask for at once: a page of large jobs. */
const OUTPUT_BYTES_MIN = 32 * 1024 * 1024;
const LAG_WARN_SECONDS = 10;

export type Settings = ReadonlyMap<string, string>;

export const configuration: Check = {
  name: 'configuration',
  label: 'Configuration',
  layer: 'redis',
  deadlineMs: 8000,
  run: async ({ link, target, infos }) => {
    if (link === undefined || target === undefined) return [];
    const findings: Judged[] = judgePrefix(target);
    for (const server of link.servers()) {
      const settings = await read(link, server);
      if ('reason' in settings) {
        findings.push(
          skip(
            'CONFIG is not allowed here, as usual with managed Redis; only what INFO shows is judged',
            settings.reason,
            'Look for maxmemory-policy, persistence and timeout in the console of the provider.',
          ),
        );
      }
      const found = 'reason' in settings ? new Map<string, string>() : settings;
      const info = infos?.get(server.label) ?? new Map<string, string>();
      const judged = [
        ...judgeEviction(found, info),
        ...judgePersistence(found, info),
        ...judgeConnections(found, info, target),
        ...judgeReplication(found, info),
      ];
      findings.push(
        ...judged.map((finding) =>
          server.label === ''
            ? finding
            : { ...finding, title: `${server.label}: ${finding.title}` },
        ),
      );
    }
    return findings;
  },
};

async function read(link: Link, { client }: Server): Promise<Settings | { reason: string }> {
  const settings = new Map<string, string>();
  let refusal: string | undefined;
  const replies = await link.ask(
    'CONFIG GET',
    Promise.allSettled(NAMES.map((name) => client.config('GET', name))),
  );
  replies.forEach((result, i) => {
    if (result.status === 'fulfilled') {
      const [, value] = result.value as string[];
      if (value !== undefined) settings.set(NAMES[i]!, value);
    } else if (isNotAllowed(result.reason)) {
      // Some offers let through a part of them.
      refusal = (result.reason as Error).message;
    } else throw result.reason;
  });
  return refusal !== undefined && settings.size === 0 ? { reason: refusal } : settings;
}

function judgePrefix({ kind, redis }: Target): Judged[] {
  if (kind !== 'cluster' || /\{[^}]+\}/.test(redis.prefix)) return [];
  return [
    fail(
      'The queue prefix has no hash tag: the keys of one queue lie on different nodes',
      `QUEUE_PREFIX=${redis.prefix}`,
      `Set QUEUE_PREFIX={${redis.prefix}} for every producer and worker; jobs under the old prefix stay there.`,
    ),
  ];
}

/** Pure. */
export function judgeEviction(settings: Settings, info: Info): Judged[] {
  const policy = settings.get('maxmemory-policy') ?? info.get('maxmemory_policy');
  if (policy === undefined) return [];
  const limit = numberOf(settings, 'maxmemory') ?? numberOf(info, 'maxmemory') ?? 0;
  const seen = `maxmemory-policy ${policy}, maxmemory ${limit === 0 ? '0 (no limit)' : bytesText(limit)}`;
  if (policy === 'noeviction') return [pass('Redis never throws keys away', seen)];
  const takes = policy.startsWith('volatile-') ? 'locks and numbers of requests' : 'jobs';
  const remedy =
    'Set maxmemory-policy noeviction: CONFIG SET maxmemory-policy noeviction and CONFIG REWRITE, or in the console of the provider. Keep caches on another Redis.';
  return limit > 0
    ? [fail(`Redis throws ${takes} away when its memory is full (${policy})`, seen, remedy)]
    : [
        warn(
          `Redis would throw ${takes} away as soon as it gets a limit (${policy})`,
          seen,
          remedy,
        ),
      ];
}

/** Pure. */
export function judgePersistence(settings: Settings, info: Info): Judged[] {
  const appendOnly = settings.get('appendonly') ?? yesNo(info.get('aof_enabled'));
  if (appendOnly === undefined) return [];
  const fsync = settings.get('appendfsync');
  const save = settings.get('save');
  if (appendOnly === 'yes') {
    const seen = `appendonly yes${fsync === undefined ? '' : `, appendfsync ${fsync}`}`;
    if (fsync === 'no') {
      return [
        warn(
          'The operating system decides when jobs reach the disk: a crash of the host may lose half a minute',
          seen,
          'CONFIG SET appendfsync everysec (or always), then CONFIG REWRITE.',
        ),
      ];
    }
    const loses =
      fsync === 'always' ? 'nothing is lost by a crash' : 'a crash loses a second at most';
    return [pass(`Jobs are written to disk: ${loses}`, seen)];
  }
  const remedy =
    'CONFIG SET appendonly yes, then CONFIG REWRITE (with a managed Redis: switch on AOF persistence).';
  if (save === undefined) {
    return [warn('There is no append-only file: a restart may lose jobs', 'aof_enabled:0', remedy)];
  }
  return save === ''
    ? [
        fail(
          'Nothing is written to disk: a restart of Redis loses every job',
          'appendonly no, save ""',
          remedy,
        ),
      ]
    : [
        warn(
          'Jobs reach the disk with snapshots only: a crash loses all since the last one',
          `appendonly no, save "${save}"`,
          remedy,
        ),
      ];
}

/** Pure. */
export function judgeConnections(settings: Settings, info: Info, target: Target): Judged[] {
  const findings: Judged[] = [];
  const timeout = numberOf(settings, 'timeout');
  if (timeout !== undefined && timeout > 0 && timeout < TIMEOUT_SECONDS_MIN) {
    findings.push(
      warn(
        `Redis closes connections that are idle for ${timeout} s`,
        `timeout ${timeout}`,
        'CONFIG SET timeout 0, then CONFIG REWRITE: dead peers are found by tcp-keepalive.',
      ),
    );
  }
  const keepAlive = numberOf(settings, 'tcp-keepalive');
  if (keepAlive === 0 || (keepAlive ?? 0) > 900) {
    findings.push(
      warn(
        'Redis does not notice clients that have vanished; they count toward maxclients',
        `tcp-keepalive ${keepAlive}`,
        'CONFIG SET tcp-keepalive 300, then CONFIG REWRITE.',
      ),
    );
  }
  const clients = numberOf(settings, 'maxclients') ?? numberOf(info, 'maxclients');
  if (clients !== undefined && clients < CLIENTS_MIN) {
    findings.push(
      warn(
        `Only ${clients} clients may connect`,
        `maxclients ${clients}`,
        `CONFIG SET maxclients ${CLIENTS_MIN} or more (default 10000): each replica needs a few connections, and two for each of its queues.`,
        'clients-near-limit',
      ),
    );
  }
  findings.push(...judgeProtection(settings, target), ...judgeOutput(settings));
  if (findings.length > 0 || timeout === undefined) return findings;
  return [
    pass(
      'Connections may stay open, and there may be enough of them',
      `timeout ${timeout}, tcp-keepalive ${keepAlive}, maxclients ${clients}`,
    ),
  ];
}

function judgeProtection(settings: Settings, { redis, endpoints }: Target): Judged[] {
  if (settings.get('protected-mode') !== 'no') return [];
  const url = redis.url === undefined ? undefined : URL.parse(redis.url);
  const hasPassword =
    redis.password !== undefined || redis.passwordFile !== undefined || Boolean(url?.password);
  const { host, path } = endpoints[0]!;
  const isLocal =
    path !== undefined || host === 'localhost' || (isIP(host) !== 0 && /^(127\.|::1$)/.test(host));
  if (hasPassword || isLocal) return [];
  return [
    warn(
      'Whoever reaches this Redis over the network may do anything: no password, protected mode off',
      'protected-mode no, and we were let in without a password',
      'Set a password (requirepass, or ACL SETUSER) and REDIS_PASSWORD; close the port to the outside.',
    ),
  ];
}

function judgeOutput(settings: Settings): Judged[] {
  const text = settings.get('client-output-buffer-limit');
  const [, hard] = /(?:^| )normal (\d+)/.exec(text ?? '') ?? [];
  const limit = Number(hard ?? 0);
  if (limit === 0 || limit >= OUTPUT_BYTES_MIN) return [];
  return [
    warn(
      `Redis cuts off a client whose answer is larger than ${bytesText(limit)}`,
      `client-output-buffer-limit ${text}`,
      'CONFIG SET client-output-buffer-limit "normal 0 0 0", then CONFIG REWRITE.',
    ),
  ];
}

/** Pure: replicas that are wanted, and how far behind they are. */
export function judgeReplication(settings: Settings, info: Info): Judged[] {
  const replicas = replicasOf(info);
  const maxLag = numberOf(settings, 'min-replicas-max-lag') ?? LAG_WARN_SECONDS;
  const wanted = numberOf(settings, 'min-replicas-to-write') ?? 0;
  const good = replicas.filter(
    ({ state, lagSeconds }) => state === 'online' && lagSeconds <= maxLag,
  );
  const seen = `min-replicas-to-write ${wanted}, ${good.length} of ${replicas.length} replicas good`;
  if (good.length < wanted) return [ofCondition('no-replicas', seen)];
  const late = replicas.filter(
    ({ state, lagSeconds }) => state !== 'online' || lagSeconds > LAG_WARN_SECONDS,
  );
  if (late.length > 0) {
    const lines = late.map(
      ({ address, state, lagSeconds, behindBytes }) =>
        `${address} ${state}, ${lagSeconds} s and ${bytesText(behindBytes)} behind`,
    );
    return [ofCondition('replica-lagging', lines.join('; '), 'warn')];
  }
  return replicas.length === 0 ? [] : [pass(`${replicas.length} replicas, none is behind`, seen)];
}

function yesNo(flag: string | undefined): string | undefined {
  return flag === undefined ? undefined : flag === '1' ? 'yes' : 'no';
}
