/**
 * The catalogue of conditions: everything that can be wrong with Redis, each under one word, with its
 * cause class, what it means, the evidence to gather, what to do, and how eagerly to probe. The log,
 * readiness, the metrics, the pages, the doctor and docs/conditions.md say what stands here.
 */
import type { Pace } from '../breaker/backoff.ts';

export type CauseClass = 'network' | 'configuration' | 'resource' | 'server';

export interface Condition {
  cause: CauseClass;
  /** What it means, as the rest of the sentence "Redis is away: …". */
  meaning: string;
  /** What to look at before anything is changed, in imperative words. */
  evidence: string;
  /** What to do, in imperative words. */
  remedy: string;
  /** How eagerly the open breaker probes; a warning is found by looks and opens no breaker. */
  pace: Pace;
  /** A warning comes before an outage, or a note beside one: it opens no breaker by itself. */
  isWarning?: true;
  /** How something ended, before it is known why: another word takes its place as soon as there is one. */
  isProvisional?: true;
}

export const conditions = {
  connecting: {
    cause: 'network',
    meaning: 'the first connection is being made',
    evidence: 'Look at the log: the line `outage.opened` follows if it fails.',
    remedy: 'Wait a moment.',
    pace: 'fast',
  },
  disconnected: {
    cause: 'network',
    meaning: 'a connection or a blocking read was ended from outside, and why is not known yet',
    evidence:
      'Look at the next line of the log, then at the log of redis-server and of what stands before it.',
    remedy:
      'Wait for the next probe, which says why. If Redis answers each time, look for CLIENT KILL, an idle `timeout`, or a proxy that ends connections.',
    pace: 'fast',
    isProvisional: true,
  },
  refused: {
    cause: 'network',
    meaning: 'nothing listens at the address, or what listens there ends each connection at once',
    evidence: 'Look at `systemctl status redis` or `docker compose ps`, and at `ss -ltn` there.',
    remedy: 'Check that redis-server runs and that host and port of REDIS_URL are right.',
    pace: 'fast',
  },
  dns: {
    cause: 'network',
    meaning: 'the host name of Redis does not resolve',
    evidence: 'Run `getent hosts <name>` on this host; read /etc/resolv.conf.',
    remedy: 'Check the host in REDIS_URL and the name server.',
    pace: 'fast',
  },
  tls: {
    cause: 'configuration',
    meaning: 'the TLS handshake fails',
    evidence: 'Run `openssl s_client -connect <host>:<port> -servername <host>`.',
    remedy:
      'Check that the port speaks TLS (rediss://) or does not (redis://), and certificate, CA and server name.',
    pace: 'slow',
  },
  'not-redis': {
    cause: 'configuration',
    meaning: 'what answers at the address does not speak the protocol of Redis',
    evidence: 'Run `curl -v http://<host>:<port>/`, or `ss -ltnp` on that host.',
    remedy: 'Correct host and port of REDIS_URL.',
    pace: 'slow',
  },
  timeout: {
    cause: 'network',
    meaning: 'Redis cannot be reached in time',
    evidence: 'Run `nc -vz <host> <port>` on this host and on another one; compare.',
    remedy: 'Check firewall, routes and security groups between this host and Redis.',
    pace: 'fast',
  },
  'half-open': {
    cause: 'network',
    meaning: 'a connection is open but answers nothing, while a new one is answered',
    evidence: 'Compare `ss -tn` on both hosts: a connection that only one of them knows is dead.',
    remedy: 'Check NAT and firewall state between this host and Redis; the connection is replaced.',
    pace: 'fast',
  },
  frozen: {
    cause: 'server',
    meaning: 'Redis accepts connections and answers nothing',
    evidence:
      'Look at the state of the process (`ps -o stat,wchan -p <pid>`), SLOWLOG, disk waits and the log of redis-server.',
    remedy:
      'Look for a stopped process, a paused VM, a slow script or a disk that stalls the server.',
    pace: 'fast',
  },
  loading: {
    cause: 'server',
    meaning: 'Redis is loading its dataset after a start',
    evidence: 'Look at `loading_eta_seconds` of INFO persistence.',
    remedy: 'Wait; work goes on by itself when the dataset is loaded.',
    pace: 'fast',
  },
  'read-only': {
    cause: 'server',
    meaning: 'the server is a replica and takes no writes',
    evidence: 'Look at `role` and `master_host` of INFO replication; ask the Sentinels.',
    remedy: 'Check the failover; point REDIS_URL or Sentinel at the master.',
    pace: 'fast',
  },
  'no-replicas': {
    cause: 'server',
    meaning: 'the master takes no writes because too few replicas are connected',
    evidence: 'Compare `connected_slaves` of INFO replication with min-replicas-to-write.',
    remedy: 'Bring the replicas back, or lower min-replicas-to-write.',
    pace: 'fast',
  },
  'master-down': {
    cause: 'server',
    meaning: 'the replica has lost its master',
    evidence: 'Look at `master_link_status` of INFO replication; ask the Sentinels.',
    remedy: 'Check the master and the failover.',
    pace: 'fast',
  },
  'cluster-down': {
    cause: 'server',
    meaning: 'the cluster does not serve the slot',
    evidence: 'Read CLUSTER INFO and CLUSTER NODES.',
    remedy: 'Check the cluster: a master of the slot must be up or a replica promoted.',
    pace: 'fast',
  },
  'busy-script': {
    cause: 'server',
    meaning: 'Redis is busy with a long script',
    evidence: 'Read SLOWLOG GET when it is over; look at who runs EVAL or FCALL in CLIENT LIST.',
    remedy: 'Find the script with SLOWLOG; end it with SCRIPT KILL if it only reads.',
    pace: 'fast',
  },
  'out-of-memory': {
    cause: 'resource',
    meaning: 'Redis has reached maxmemory and takes no writes that need memory',
    evidence: 'Read INFO memory; find large keys with `redis-cli --bigkeys`.',
    remedy: 'Free memory or raise maxmemory; keep fewer finished jobs.',
    pace: 'normal',
  },
  'cannot-persist': {
    cause: 'resource',
    meaning: 'Redis cannot save to disk and refuses writes (MISCONF)',
    evidence: 'Run `df -h` for the data folder; read INFO persistence and the log of redis-server.',
    remedy: 'Check disk space and permissions of the data folder; see the log of redis-server.',
    pace: 'normal',
  },
  'max-clients': {
    cause: 'resource',
    meaning: 'Redis has as many clients as maxclients allows',
    evidence: 'Count CLIENT LIST by address and name.',
    remedy: 'Close idle clients or raise maxclients.',
    pace: 'normal',
  },
  'auth-required': {
    cause: 'configuration',
    meaning: 'Redis wants a password and none was given',
    evidence: 'Look with `holdfast config` where the password would come from, if from anywhere.',
    remedy:
      'Set REDIS_PASSWORD or REDIS_PASSWORD_FILE, or put the password into REDIS_URL or REDIS_URL_FILE.',
    pace: 'slow',
  },
  'wrong-password': {
    cause: 'configuration',
    meaning: 'user name or password is wrong',
    evidence: 'Read ACL LOG on the server: it names the user that was tried.',
    remedy:
      'Correct user and password where they are given: REDIS_USERNAME with REDIS_PASSWORD or REDIS_PASSWORD_FILE (read at every connect), or REDIS_URL or REDIS_URL_FILE.',
    pace: 'slow',
  },
  'no-permission': {
    cause: 'configuration',
    meaning: 'the Redis user may not run a command that is needed',
    evidence: 'Read ACL LOG and ACL GETUSER <user> on the server.',
    remedy:
      'Run `holdfast doctor`: it prints the ACL SETUSER line that is missing. config/redis-acl.conf has all that is needed.',
    pace: 'slow',
  },
  isolated: {
    cause: 'configuration',
    meaning: 'an operator holds it away by hand',
    evidence:
      'Look for `breaker.isolated` in the log of this replica: it has the reason that was given.',
    remedy: 'Run `holdfast release` when the reason is gone.',
    pace: 'normal',
  },
  'server-restarted': {
    cause: 'server',
    meaning: 'Redis was started anew',
    evidence: 'Look at `uptime_in_seconds` of INFO server and at the end of its previous log.',
    remedy: 'Look in the log of redis-server why it ended.',
    pace: 'fast',
  },
  'failed-over': {
    cause: 'server',
    meaning: 'another server is the master now',
    evidence: 'Read INFO replication of both servers and the log of the Sentinels.',
    remedy: 'Look at why the former master went away.',
    pace: 'fast',
  },
  'data-lost': {
    cause: 'server',
    meaning: 'the dataset is gone',
    evidence:
      'Look at `cmdstat_flushall` of INFO commandstats, at the data folder, and at backups.',
    remedy:
      'Check persistence (appendonly yes) and who ran FLUSHALL; restore a backup if there is one.',
    pace: 'fast',
  },
  'data-rolled-back': {
    cause: 'server',
    meaning: 'the dataset lost its last moments',
    evidence: 'Look at appendfsync, and at the replication offsets around the failover.',
    remedy: 'Set appendfsync always, or accept the window; lost outcomes were written again.',
    pace: 'fast',
  },
  'event-loop-blocked': {
    cause: 'resource',
    meaning: 'our own event loop stood still',
    evidence: 'The line `event_loop.blocked` names the jobs that ran then.',
    remedy: 'Move computation of handlers to a worker thread.',
    pace: 'fast',
    isWarning: true,
  },
  slow: {
    cause: 'network',
    meaning: 'Redis answers, but late: beyond PULSE_TIMEOUT it would be taken for frozen',
    evidence:
      'Compare `holdfast doctor` here and on the host of Redis; read SLOWLOG GET and LATENCY LATEST.',
    remedy:
      'If only this host is slow, look at the way to Redis; else at CPU, slow commands and forks of redis-server.',
    pace: 'normal',
    isWarning: true,
  },
  'memory-filling': {
    cause: 'resource',
    meaning: 'memory grows toward maxmemory; when it is full Redis refuses writes',
    evidence: 'Read INFO memory; count finished jobs with `holdfast status`.',
    remedy: 'Raise maxmemory, or keep fewer finished jobs (KEEP_COMPLETED_COUNT).',
    pace: 'normal',
    isWarning: true,
  },
  'clients-near-limit': {
    cause: 'resource',
    meaning: 'almost as many clients are connected as maxclients allows',
    evidence: 'Count CLIENT LIST by address and name.',
    remedy: 'Raise maxclients (and the limit of open files), or close idle clients.',
    pace: 'normal',
    isWarning: true,
  },
  'replica-lagging': {
    cause: 'resource',
    meaning: 'a replica of Redis is behind: a failover now would lose its last moments',
    evidence: 'Look at `lag` and `offset` of each slave in INFO replication.',
    remedy: 'Check network, disk and load of the replica.',
    pace: 'normal',
    isWarning: true,
  },
  'save-failing': {
    cause: 'resource',
    meaning: 'the last save of Redis to disk failed; soon it may refuse writes',
    evidence: 'Read INFO persistence and the log of redis-server; run `df -h` for its data folder.',
    remedy: 'Free disk space, and check permissions of the data folder.',
    pace: 'normal',
    isWarning: true,
  },
  'certificate-expiring': {
    cause: 'configuration',
    meaning: "the server's TLS certificate is about to expire; then no connection is made any more",
    evidence:
      'Run `openssl s_client -connect <host>:<port> </dev/null | openssl x509 -noout -enddate`.',
    remedy: 'Renew the certificate and let redis-server load it (CONFIG SET tls-cert-file …).',
    pace: 'normal',
    isWarning: true,
  },
} as const satisfies Record<string, Condition>;

export type ConditionName = keyof typeof conditions;

/** What the catalogue says of a name, also of one that it does not have (an older record's). */
export function describeCondition(name: string): Condition {
  if (Object.hasOwn(conditions, name)) return conditions[name as ConditionName];
  return {
    cause: 'server',
    meaning: `the condition "${name}" is not known to this version`,
    evidence: 'Look in the documentation of the version that wrote it.',
    remedy: 'See docs/conditions.md.',
    pace: 'normal',
  };
}

/** Where a condition is documented, from the root of the project. */
export function conditionAnchor(name: string): string {
  return `docs/conditions.md#${name}`;
}
