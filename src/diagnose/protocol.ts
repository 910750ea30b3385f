/**
 * What speaks at the other end: Redis, TLS, HTTP, something else, or nothing at all (frozen). One PING
 * is sent over a bare socket, so that no library stands between what is said and the verdict.
 */

import type { ConditionName } from '../redis/condition-catalogue.ts';
import { conditionOf } from '../redis/conditions.ts';
import { fail, type Judged, ofCondition, pass } from './finding.ts';
import type { Check, Scene } from './scene.ts';
import { dial, exchange, shakeHands } from './socket.ts';
import { type Endpoint, tlsOf } from './target.ts';

const STEP_MS = 2000;
const SHOWN_CHARS_MAX = 60;
/** The first byte of a TLS alert. */
const TLS_ALERT = 0x15;

export interface Speaker {
  speaks: 'redis' | 'tls' | 'http' | 'other' | 'nothing';
  /** A reply of Redis that refuses. */
  error?: string;
  shown: string;
}

export const protocol: Check = {
  name: 'protocol',
  label: 'Protocol',
  layer: 'way',
  deadlineMs: 9000,
  run: async (scene) => {
    const { target } = scene;
    if (target === undefined) return [];
    const failures: Judged[] = [];
    for (const endpoint of target.endpoints) {
      const [finding] = await ask(scene, endpoint);
      if (finding?.status === 'pass') return [finding];
      if (finding !== undefined) failures.push(finding);
    }
    return failures.slice(0, 1);
  },
};

async function ask({ target, clock }: Scene, endpoint: Endpoint): Promise<Judged[]> {
  const options = tlsOf(target!, () => undefined);
  const from = clock.now();
  try {
    const plain = await dial(endpoint, STEP_MS);
    const socket =
      options === undefined ? plain : await shakeHands(plain, endpoint.host, options, STEP_MS);
    const reply = await exchange(socket, 'PING\r\n', STEP_MS);
    const speaker = judgePlainReply(reply);
    if (speaker.speaks === 'redis') return [judgeRedis(speaker, endpoint.label)];
    const isTls = options === undefined && (await speaksTls(endpoint));
    return [judgeStranger(isTls ? { ...speaker, speaks: 'tls' } : speaker, endpoint.label)];
  } catch (error) {
    if (options === undefined && (await speaksTls(endpoint))) {
      return [judgeStranger({ speaks: 'tls', shown: (error as Error).message }, endpoint.label)];
    }
    const took = Math.round(clock.now() - from);
    const finding = ofCondition(
      conditionOf(error) ?? 'refused',
      `${(error as Error).message} (${took} ms)`,
    );
    finding.title = `${endpoint.label} accepts connections and ends them at once`;
    return [finding];
  }
}

async function speaksTls(endpoint: Endpoint): Promise<boolean> {
  try {
    const socket = await dial(endpoint, STEP_MS);
    (await shakeHands(socket, endpoint.host, {}, STEP_MS)).destroy();
    return true;
  } catch (error) {
    // A server that wants a client certificate, or other versions, says so in TLS.
    return /alert/i.test((error as Error).message);
  }
}

/** Pure: who answers so to a PING. */
export function judgePlainReply(reply: Buffer): Speaker {
  if (reply.length === 0) return { speaks: 'nothing', shown: '' };
  const text = reply.toString('latin1').split(/\r?\n/, 1)[0]!;
  const shown = text.replace(/[^\x20-\x7e]/g, '.').slice(0, SHOWN_CHARS_MAX);
  if (reply[0] === TLS_ALERT && reply[1] === 0x03) return { speaks: 'tls', shown: 'a TLS alert' };
  if (/^(HTTP\/|<!doctype|<html)/i.test(text)) return { speaks: 'http', shown };
  if (text.startsWith('+PONG')) return { speaks: 'redis', shown };
  // Every error of Redis begins with a word in capitals.
  if (/^-[A-Z]{2,}[ \r]?/.test(text)) return { speaks: 'redis', error: text.slice(1), shown };
  return { speaks: 'other', shown };
}

function judgeRedis({ error, shown }: Speaker, label: string): Judged {
  if (error?.startsWith('DENIED')) {
    return fail(
      'Redis is in protected mode and takes connections from its own host only',
      shown,
      'Set a password for the default user on the server (requirepass) and REDIS_PASSWORD here; or run both on one host.',
      'auth-required',
    );
  }
  const condition: ConditionName | undefined =
    error === undefined ? undefined : conditionOf(new Error(error));
  // A password is the next check's; so is what a full or loading server says to more than a PING.
  if (condition === 'max-clients') return ofCondition('max-clients', shown);
  return pass(`Redis answers at ${label}`, shown);
}

function judgeStranger({ speaks, shown }: Speaker, label: string): Judged {
  const said = shown === '' ? '' : `it says: ${shown}`;
  if (speaks === 'tls') {
    return fail(
      `${label} speaks TLS, and the address says plain`,
      shown === '' ? 'a TLS handshake is answered, a plain PING is not' : shown,
      'Use rediss:// instead of redis:// (for Sentinel and Cluster: REDIS_TLS=true).',
      'tls',
    );
  }
  if (speaks === 'http') {
    return fail(
      `${label} speaks HTTP, not Redis`,
      said,
      'Correct host and port: Redis listens on 6379 by default; this is a web server or a REST API.',
      'not-redis',
    );
  }
  if (speaks === 'nothing') {
    const finding = ofCondition('frozen', `no answer to PING within ${STEP_MS} ms`);
    finding.title = `${label} accepts connections and answers nothing`;
    return finding;
  }
  return fail(
    `${label} does not speak the protocol of Redis`,
    said,
    'Correct host and port: Redis listens on 6379 by default.',
    'not-redis',
  );
}
