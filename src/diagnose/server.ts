/** The server's own state: version, role, loading, uptime, restarts that our records know of. */
import { fateOf, folderOfOutages, readOutages } from '../outage/archive.ts';
import { conditionOf } from '../redis/conditions.ts';
import { parseIdentity } from '../redis/identity.ts';
import { durationText } from './amounts.ts';
import { fail, type Judged, ofCondition, pass, skip, warn } from './finding.ts';
import { type Info, numberOf, parseInfo } from './info.ts';
import { isNotAllowed, isReply, type Link } from './link.ts';
import type { Check } from './scene.ts';

/** BullMQ's own minimum; and what it recommends, for atomic blocking reads. */
const VERSION_MIN = '6.2.0';
/** A server this young was restarted, which somebody may want to know, seconds. */
const YOUNG_SECONDS = 300;
const DAY_MS = 86_400_000;

export const server: Check = {
  name: 'server',
  label: 'Server',
  layer: 'redis',
  deadlineMs: 6000,
  run: async (scene) => {
    const { link, target, loaded, clock } = scene;
    if (link === undefined || target === undefined) return [];
    const infos = new Map<string, Info>();
    const findings: Judged[] = [];
    const servers = link.servers();
    if (target.kind === 'cluster') findings.push(...(await judgeCluster(link)));
    for (const { label, client } of servers) {
      try {
        const text = String(await link.ask('INFO', client.info()));
        infos.set(label, parseInfo(text));
        findings.push(...judgeServer(parseInfo(text), text, label));
      } catch (error) {
        if (target.kind === 'cluster' && !isReply(error)) {
          link.leaveOut(label);
          findings.push(judgeLostNode(label, error));
          continue;
        }
        if (!isNotAllowed(error)) throw error;
        findings.push(
          skip(
            'INFO is not allowed here',
            (error as Error).message,
            'Allow it: ACL SETUSER <user> +info',
          ),
        );
      }
    }
    scene.infos = infos;
    const { outages } = await readOutages(folderOfOutages(loaded.config.dataDir)).catch(() => ({
      outages: [],
    }));
    const since = clock.wall() - DAY_MS;
    const recent = outages.filter(({ startedAt }) => startedAt >= since);
    findings.push(
      ...judgeHistory(
        recent.map(({ conditions }) => conditions.map(({ name }) => name)),
        recent.some((outage) => fateOf(outage, clock.wall()) === 'open'),
      ),
    );
    return findings;
  },
};

/** Pure: one server by its INFO. */
export function judgeServer(info: Info, text: string, label = ''): Judged[] {
  const { version, flavour, role } = parseIdentity(text);
  const where = label === '' ? '' : ` (${label})`;
  const uptime = numberOf(info, 'uptime_in_seconds');
  const up = uptime === undefined ? '' : `, up for ${durationText(uptime * 1000)}`;
  const kind = flavour === 'other' ? 'A server of unknown kind' : product(flavour);
  const mode = info.get('redis_mode') ?? info.get('server_mode');
  const findings: Judged[] = [];
  if (info.get('loading') === '1') {
    const eta = numberOf(info, 'loading_eta_seconds');
    const evidence = eta === undefined ? 'loading:1' : `about ${eta} s to go`;
    findings.push(ofCondition('loading', evidence));
  }
  if (role === 'replica') {
    const master = `${info.get('master_host')}:${info.get('master_port')}`;
    const finding = ofCondition(
      'read-only',
      `role:slave of ${master}, master_link_status:${info.get('master_link_status')}`,
    );
    finding.remedy = `Point REDIS_URL at the master (${master}), or use REDIS_SENTINELS to find it.`;
    findings.push(finding);
  }
  const compatible = info.get('redis_version') ?? version;
  if (flavour === 'redis' && isOlder(compatible, VERSION_MIN)) {
    findings.push(
      fail(
        `Redis ${compatible} is too old`,
        `redis_version:${compatible}`,
        `Upgrade the server to Redis ${VERSION_MIN} or later (7.x is what Holdfast is tested with), or to Valkey.`,
      ),
    );
  }
  if (flavour === 'dragonfly' || flavour === 'other') {
    findings.push(
      warn(
        `${kind} is not among the servers that Holdfast is tested with`,
        `version ${version || 'unknown'}`,
        'Run the jobs of a test system through it first; Redis and Valkey are tested.',
      ),
    );
  }
  if (uptime !== undefined && uptime < YOUNG_SECONDS && info.get('loading') !== '1') {
    findings.push(
      warn(
        `Redis was started ${durationText(uptime * 1000)} ago${where}`,
        `uptime_in_seconds:${uptime}`,
        'If nobody restarted it: look in the log of redis-server, and for the OOM killer (dmesg).',
        'server-restarted',
      ),
    );
  }
  const bad = findings.some(({ status }) => status === 'fail');
  if (bad) return findings;
  const what = `${kind} ${version}${where}${role === 'master' ? ', master' : ''}${up}`;
  return [pass(what, mode === undefined ? '' : `mode ${mode}`), ...findings];
}

/** Pure: outages of the last day, each as the conditions that it went through. */
export function judgeHistory(outages: readonly (readonly string[])[], isOpen: boolean): Judged[] {
  if (outages.length === 0) return [];
  const restarts = outages.filter((names) => names.includes('server-restarted')).length;
  const failovers = outages.filter((names) => names.includes('failed-over')).length;
  const details = [
    `${outages.length} in 24 h`,
    ...(restarts > 0 ? [`${restarts} with a restart`] : []),
    ...(failovers > 0 ? [`${failovers} with a failover`] : []),
    ...(isOpen ? ['one goes on now'] : []),
  ].join(', ');
  if (outages.length < 3 && !isOpen) return [pass('Few outages on record', details)];
  return [
    warn(
      isOpen
        ? 'A service here is in an outage now'
        : `${outages.length} outages in the last 24 hours`,
      details,
      'Read them: holdfast outages; a post-mortem of one: holdfast outages show <id> --markdown.',
    ),
  ];
}

function judgeLostNode(label: string, error: unknown): Judged {
  const condition = conditionOf(error) ?? 'refused';
  const finding = ofCondition(condition, error instanceof Error ? error.message : String(error));
  finding.title = `The master ${label} does not answer`;
  finding.remedy = `Look at redis-server there; without a replica that takes over, its slots are not served.`;
  return finding;
}

/** What the first master says that answers. */
async function judgeCluster(link: Link): Promise<Judged[]> {
  let last: unknown = new Error('no master is known');
  for (const { client } of link.servers()) {
    try {
      const fields = parseInfo(String(await link.ask('CLUSTER INFO', client.cluster('INFO'))));
      const state = fields.get('cluster_state');
      const slots = `${fields.get('cluster_slots_ok')} of 16384 slots served, ${fields.get('cluster_known_nodes')} nodes`;
      return [
        state === 'ok'
          ? pass('The Cluster serves all slots', slots)
          : ofCondition('cluster-down', `cluster_state:${state}; ${slots}`),
      ];
    } catch (error) {
      if (isNotAllowed(error)) return [skip('CLUSTER INFO is not allowed here')];
      last = error;
    }
  }
  return [ofCondition('cluster-down', last instanceof Error ? last.message : String(last))];
}

function product(flavour: string): string {
  return flavour.charAt(0).toUpperCase() + flavour.slice(1);
}

export function isOlder(version: string, than: string): boolean {
  const [a, b] = [version, than].map((text) =>
    text.split('.').map((part) => Number.parseInt(part, 10) || 0),
  );
  for (let i = 0; i < 3; i += 1) {
    if ((a![i] ?? 0) !== (b![i] ?? 0)) return (a![i] ?? 0) < (b![i] ?? 0);
  }
  return false;
}
