/**
 * Environment and configuration: what is set, what looks misspelt, and which Redis follows from it. A
 * configuration that is no good never comes here; `doctor.ts` tells its mistakes.
 */
import { findRedisServer } from '../redis/server-bin.ts';
import { type Judged, pass, warn } from './finding.ts';
import type { Check, Scene } from './scene.ts';

const DOCUMENT = 'docs/configuration.md';

export const environment: Check = {
  name: 'environment',
  label: 'Environment',
  layer: 'local',
  deadlineMs: 2000,
  run: async (scene) => {
    const { config, effective, warnings } = scene.loaded;
    const set = effective.filter(({ source }) => source !== 'default').map(({ name }) => name);
    return [
      pass(
        set.length === 0 ? 'Every setting is a default' : 'The settings can be used',
        set.length === 0 ? '' : `set: ${set.join(', ')}`,
      ),
      ...warnings.map(judgeWarning),
      ...judgeTarget(scene),
      ...(config.redis.tls?.rejectUnauthorized === false
        ? [
            warn(
              "The server's certificate is not verified",
              'REDIS_TLS_REJECT_UNAUTHORIZED=false',
              'Name the authority with REDIS_TLS_CA_FILE and remove this setting.',
            ),
          ]
        : []),
    ];
  },
};

/** `X is not a setting of Holdfast and has no effect; did you mean Y?` as a finding. */
function judgeWarning(text: string): Judged {
  const [, wrong, nearest] = /^(\S+) is not a setting.*did you mean (\S+)\?$/.exec(text) ?? [];
  if (wrong === undefined) return warn(text, '', `See ${DOCUMENT}.`);
  return warn(
    `${wrong} is not a setting of Holdfast and has no effect`,
    `the nearest name is ${nearest}`,
    `Rename ${wrong} to ${nearest}, or remove it. All settings: ${DOCUMENT}.`,
  );
}

function judgeTarget({ target, loaded: { config } }: Scene): Judged[] {
  if (target?.isEmbedded) {
    return [pass('The embedded Redis of this data folder is used', config.dataDir)];
  }
  if (target !== undefined) return [];
  const bin = findRedisServer(config.redisServerBin);
  const brings =
    bin === undefined
      ? 'no redis-server is installed, so a service would bring one along that forgets everything'
      : `a service would start ${bin}`;
  return [
    warn(
      'No Redis is configured, and no service of this data folder runs',
      `REDIS_URL, REDIS_SENTINELS and REDIS_CLUSTER_NODES are not set; ${brings}`,
      'Set REDIS_URL, or start the service (`holdfast start`) and run the doctor again.',
    ),
  ];
}
