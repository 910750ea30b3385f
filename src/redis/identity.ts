/**
 * Which server, and which life of it, is at the other end: told from INFO, without side effects.
 */

export interface ServerIdentity {
  /** Changes at every start of a server. */
  runId: string;
  /** Id of the replication history; a promoted replica begins a new one. */
  replicationId: string;
  /** The history that this one continues, after a promotion. */
  replicationIdBefore: string;
  role: 'master' | 'replica' | 'unknown';
  /** How long it runs, ms; whole seconds, and so up to one more or less. */
  uptimeMs: number;
  version: string;
  flavour: 'redis' | 'valkey' | 'dragonfly' | 'other';
}

/** Reads what INFO says; unknown fields become empty strings. */
export function parseIdentity(info: string): ServerIdentity {
  const fields = new Map<string, string>();
  for (const line of info.split(/\r?\n/)) {
    const colon = line.indexOf(':');
    if (colon > 0) fields.set(line.slice(0, colon), line.slice(colon + 1));
  }
  const role = fields.get('role');
  return {
    runId: fields.get('run_id') ?? '',
    replicationId: fields.get('master_replid') ?? '',
    replicationIdBefore: fields.get('master_replid2') ?? '',
    role: role === 'master' ? 'master' : role === 'slave' ? 'replica' : 'unknown',
    uptimeMs: Number(fields.get('uptime_in_seconds') ?? 0) * 1000,
    version: fields.get('valkey_version') ?? fields.get('redis_version') ?? '',
    flavour: fields.has('valkey_version')
      ? 'valkey'
      : fields.has('dragonfly_version')
        ? 'dragonfly'
        : fields.has('redis_version')
          ? 'redis'
          : 'other',
  };
}

export type IdentityChange = 'first' | 'same' | 'restarted' | 'failed-over';

/** A history that continues none: `master_replid2` is forty zeros. */
const NONE = /^0+$/;
/** What a server says of its age may be so much more than it is, ms. */
const UPTIME_STEP_MS = 1000;

/**
 * What became of the server since `before`. A replica that is promoted (also a master that was demoted
 * for a while) begins a new history and names the one that it continues: a failover. Any other new run
 * id is a restart. Either may have lost the last moments of writes. A master also begins a new history,
 * which continues none, when its first replica comes and some time after its last one went: nothing is
 * lost by that. One that comes back from a file names the history which its replicas followed as a promoted
 * replica does; but no replica is as young as that.
 * @param sinceMs since `before` was last heard, ms
 */
export function compareIdentity(
  before: ServerIdentity | undefined,
  now: ServerIdentity,
  sinceMs: number,
): IdentityChange {
  if (!before) return 'first';
  if (before.runId === now.runId) {
    const isOne = before.replicationId === now.replicationId || NONE.test(now.replicationIdBefore);
    return isOne ? 'same' : 'failed-over';
  }
  const isNew = now.uptimeMs < sinceMs + UPTIME_STEP_MS;
  return !isNew && now.replicationIdBefore === before.replicationId ? 'failed-over' : 'restarted';
}
