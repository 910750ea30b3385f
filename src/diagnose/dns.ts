/** Name resolution: every configured host, as this process' own resolver answers. */
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { capital, fail, type Judged, ofCondition, pass, skip, warn } from './finding.ts';
import type { Check } from './scene.ts';

/** A resolver that takes so long is felt at every connect, ms. */
const SLOW_MS = 500;

export interface Resolved {
  host: string;
  addresses: readonly string[];
  tookMs: number;
  /** `ENOTFOUND` and the like, when it failed. */
  error?: string;
}

export const dns: Check = {
  name: 'dns',
  label: 'DNS',
  layer: 'way',
  deadlineMs: 5000,
  run: async ({ target, clock }) => {
    if (target === undefined) return [];
    const names = target.endpoints
      .filter(({ path, host }) => path === undefined && isIP(host) === 0)
      .map(({ host }) => host);
    if (names.length === 0) {
      return [skip('No name to resolve', target.endpoints.map(({ label }) => label).join(', '))];
    }
    const resolve = async (host: string): Promise<Resolved> => {
      const from = clock.now();
      try {
        const found = await lookup(host, { all: true });
        const addresses = found.map(({ address }) => address);
        return { host, addresses, tookMs: clock.now() - from };
      } catch (error) {
        const { code = 'unknown' } = error as NodeJS.ErrnoException;
        return { host, addresses: [], tookMs: clock.now() - from, error: code };
      }
    };
    return judgeNames(await Promise.all([...new Set(names)].map(resolve)));
  },
};

/** One name is enough where there are several: the others are a warning. */
export function judgeNames(names: readonly Resolved[]): Judged[] {
  const bad = names.filter(({ error }) => error !== undefined);
  const good = names.filter(({ error }) => error === undefined);
  const findings: Judged[] = bad.map(({ host, error }) => {
    const seen = `${host}: ${error}`;
    if (error === 'EAI_AGAIN') {
      return fail(
        `The name server did not answer when asked for ${host}`,
        seen,
        'Check the network of this host and the servers in /etc/resolv.conf.',
        'dns',
      );
    }
    const finding = ofCondition('dns', seen);
    return { ...finding, title: `${capital(`the name ${host}`)} does not resolve` };
  });
  if (good.length > 0) for (const finding of findings) finding.status = 'warn';
  for (const { host, addresses, tookMs } of good) {
    const took = `${Math.round(tookMs)} ms`;
    findings.push(
      tookMs > SLOW_MS
        ? warn(
            `${host} resolves slowly`,
            `${addresses.join(', ')} after ${took}`,
            'Check the name servers in /etc/resolv.conf; every connect waits for them.',
            'dns',
          )
        : pass(`${host} resolves`, `${addresses.join(', ')} (${took})`),
    );
  }
  return findings;
}
