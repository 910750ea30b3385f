/**
 * The connection as the service makes it, with its credentials: through the Sentinels to the master, or
 * to a Cluster that serves its slots. What it opens here all later checks use.
 */
import { readFileSync } from 'node:fs';
import type { ConditionName } from '../redis/condition-catalogue.ts';
import { conditionOf } from '../redis/conditions.ts';
import { fail, type Judged, ofCondition, pass } from './finding.ts';
import { isReply, Link } from './link.ts';
import type { Check } from './scene.ts';
import type { Target } from './target.ts';

const STEP_MS = 3000;

export const auth: Check = {
  name: 'auth',
  label: 'Login',
  layer: 'way',
  deadlineMs: 8000,
  run: async (scene) => {
    const { target } = scene;
    if (target === undefined) return [];
    const findings = judgePasswordFile(target);
    if (findings.some(({ status }) => status === 'fail')) return findings;
    scene.link = new Link(target);
    try {
      await scene.link.open(STEP_MS);
    } catch (error) {
      // Who is told of disk, replicas or dataset has been let in: that is for later checks.
      if (!isLetIn(error)) {
        scene.link.close();
        delete scene.link;
        return [...findings, judgeLogin(error, target)];
      }
    }
    const user = await scene.link
      .ask('ACL WHOAMI', scene.link.servers()[0]!.client.call('ACL', 'WHOAMI'))
      .catch(() => undefined);
    const via = target.kind === 'single' ? '' : ` at ${scene.link.peer() ?? 'a node'}`;
    const who = typeof user === 'string' ? `as user ${user}` : `as ${userOf(target)}`;
    return [...findings, pass(`Connected ${who}${via}`)];
  },
};

function judgePasswordFile({ redis: { passwordFile } }: Target): Judged[] {
  if (passwordFile === undefined) return [];
  try {
    const text = readFileSync(passwordFile, 'utf8');
    if (text.trim() !== '') return [];
    return [
      fail(
        'The password file is empty',
        passwordFile,
        'Write the password into it.',
        'auth-required',
      ),
    ];
  } catch (error) {
    return [
      fail(
        'The password file cannot be read',
        `${passwordFile}: ${(error as NodeJS.ErrnoException).code}`,
        'Correct REDIS_PASSWORD_FILE, or let the user of this process read the file.',
        'auth-required',
      ),
    ];
  }
}

/** Refusals that a server gives to those whom it knows. */
const LET_IN: ReadonlySet<string> = new Set<ConditionName>([
  'loading',
  'cannot-persist',
  'no-replicas',
  'master-down',
  'read-only',
  'out-of-memory',
]);

function isLetIn(error: unknown): boolean {
  return isReply(error) && LET_IN.has(conditionOf(error) ?? '');
}

/** What a login that came to nothing means. */
export function judgeLogin(error: unknown, target: Target): Judged {
  const reply = error instanceof Error ? error.message : String(error);
  const condition = conditionOf(error);
  if (target.kind === 'sentinel' && (condition === undefined || /No such master/i.test(reply))) {
    return fail(
      `The Sentinels name no master "${target.redis.sentinelName}"`,
      reply,
      'Check REDIS_SENTINEL_NAME against `SENTINEL MASTERS`, and that the master is reachable from here.',
      'master-down',
    );
  }
  if (condition === 'wrong-password') {
    const finding = ofCondition('wrong-password', `${userOf(target)}: ${reply}`);
    finding.title = `User name or password is wrong (${userOf(target)})`;
    return finding;
  }
  return ofCondition(condition ?? 'refused', reply);
}

function userOf({ redis }: Target): string {
  const fromUrl = redis.url === undefined ? '' : (URL.parse(redis.url)?.username ?? '');
  const user = redis.username ?? fromUrl;
  return user === '' ? 'the default user' : `user ${decodeURIComponent(user)}`;
}
