/**
 * TLS: whether a handshake comes about, and the certificate: chain, host name, days to expiry. Where no
 * handshake comes about, what the port speaks instead is told by the next check, `protocol`.
 */
import { isIP } from 'node:net';
import type { PeerCertificate } from 'node:tls';
import { SecretFileError } from '../errors.ts';
import { fail, type Judged, ofCondition, pass, skip, warn } from './finding.ts';
import { judgePlainReply } from './protocol.ts';
import type { Check } from './scene.ts';
import { DeadlineError, dial, exchange, shakeHands } from './socket.ts';
import { tlsOf } from './target.ts';

const STEP_MS = 2000;
const DAY_MS = 86_400_000;
/** Time enough for people to renew it by hand. */
const EXPIRY_WARN_DAYS = 30;

export interface SeenCertificate {
  subject: string;
  issuer: string;
  names: string;
  /** Milliseconds since the epoch. */
  validFrom: number;
  validTo: number;
  /** Node's code for what is wrong with the chain or the name; undefined when all is well. */
  problem: string | undefined;
  protocol: string;
}

export const tls: Check = {
  name: 'tls',
  label: 'TLS',
  layer: 'way',
  deadlineMs: 9000,
  run: async ({ target, clock }) => {
    if (target === undefined) return [];
    const unreadable: Error[] = [];
    const options = tlsOf(target, (error) => unreadable.push(error));
    if (options === undefined) {
      return [skip('Not used', 'the address says redis://, or REDIS_TLS is not set')];
    }
    // Options of files are getters: this reads them.
    Object.values(options);
    const files = judgeFiles(unreadable);
    if (files.length > 0) return files;
    const endpoint = target.endpoints[0]!;
    const isVerified = options.rejectUnauthorized !== false;
    for (const candidate of target.endpoints) {
      try {
        const socket = await dial(candidate, STEP_MS);
        const secure = await shakeHands(socket, candidate.host, options, STEP_MS);
        const certificate = seen(
          secure.getPeerCertificate(),
          secure.authorizationError as unknown as string | Error | null,
          secure.getProtocol() ?? '',
        );
        secure.destroy();
        const asked = options.servername ?? candidate.host;
        return judgeCertificate(certificate, asked, isVerified, clock.wall());
      } catch (error) {
        if (candidate !== target.endpoints.at(-1)) continue;
        return [await explain(error as Error, endpoint.label, () => plainWord(endpoint))];
      }
    }
    return [];
  },
};

function judgeFiles(unreadable: readonly Error[]): Judged[] {
  return [...new Map(unreadable.map((error) => [error.message, error])).values()].map((error) =>
    fail(
      'A file for TLS cannot be read',
      error.message,
      error instanceof SecretFileError ? error.remedy : 'Correct the path and its permissions.',
      'tls',
    ),
  );
}

/** What the port says to a plain PING: `undefined` when that is nothing. */
async function plainWord(endpoint: Parameters<typeof dial>[0]): Promise<string | undefined> {
  try {
    const reply = await exchange(await dial(endpoint, STEP_MS), 'PING\r\n', STEP_MS);
    return judgePlainReply(reply).speaks;
  } catch {
    return undefined;
  }
}

async function explain(
  error: Error,
  label: string,
  plain: () => Promise<string | undefined>,
): Promise<Judged> {
  const speaks = await plain();
  const evidence = error.message.replace(/^[0-9A-F]+:error:/, '').trim();
  if (speaks === 'nothing' && error instanceof DeadlineError) {
    const silent = ofCondition('frozen', `${evidence}; a plain PING is not answered either`);
    return { ...silent, title: `${label} accepts connections and answers nothing` };
  }
  if (speaks === 'redis') {
    return fail(
      `${label} speaks plain Redis, not TLS`,
      `a plain PING is answered; the handshake: ${evidence}`,
      'Use redis:// instead of rediss:// (for Sentinel and Cluster: REDIS_TLS=false), or name the TLS port of the server (tls-port).',
      'tls',
    );
  }
  if (speaks === 'http') {
    return fail(
      `${label} speaks HTTP, not Redis`,
      `it answers with HTTP; the handshake: ${evidence}`,
      'Correct the port of REDIS_URL: Redis listens on 6379 by default, with TLS often on 6380.',
      'tls',
    );
  }
  if (/alert|handshake failure|certificate required/i.test(error.message)) {
    return fail(
      'The server refuses the TLS handshake',
      evidence,
      'Check whether it wants a client certificate (REDIS_TLS_CERT_FILE, REDIS_TLS_KEY_FILE) and which TLS versions it allows (tls-protocols).',
      'tls',
    );
  }
  return fail(
    `No TLS handshake with ${label} comes about`,
    evidence,
    'Check that the port speaks TLS (tls-port of the server) and that no proxy ends it on the way.',
    'tls',
  );
}

function seen(
  certificate: PeerCertificate,
  problem: string | Error | null,
  protocol: string,
): SeenCertificate {
  const name = (part: { CN?: string | string[]; O?: string | string[] } | undefined): string =>
    [part?.CN ?? part?.O ?? '?'].flat().join(', ');
  const code = problem instanceof Error ? (problem as NodeJS.ErrnoException).code : problem;
  return {
    subject: name(certificate.subject),
    issuer: name(certificate.issuer),
    names: certificate.subjectaltname ?? '',
    validFrom: Date.parse(certificate.valid_from),
    validTo: Date.parse(certificate.valid_to),
    problem: code ?? undefined,
    protocol,
  };
}

/** Pure: what is right and wrong with a certificate that was shown to a client that asked for `asked`. */
export function judgeCertificate(
  certificate: SeenCertificate,
  asked: string,
  isVerified: boolean,
  now: number,
): Judged[] {
  const { subject, issuer, names, validFrom, validTo, problem, protocol } = certificate;
  const days = Math.floor((validTo - now) / DAY_MS);
  const until = new Date(validTo).toISOString().slice(0, 10);
  const who = `${subject}, issued by ${issuer}, valid until ${until}`;
  const judge = isVerified ? fail : warn;
  if (now > validTo || problem === 'CERT_HAS_EXPIRED') {
    return [
      judge(
        `The server's certificate expired ${-days} days ago`,
        who,
        'Renew the certificate and let redis-server load it (CONFIG SET tls-cert-file …). If it is new, check the clock of this host.',
        'tls',
      ),
    ];
  }
  if (now < validFrom || problem === 'CERT_NOT_YET_VALID') {
    return [
      judge(
        "The server's certificate is not valid yet",
        `${who}, from ${new Date(validFrom).toISOString()}; here it is ${new Date(now).toISOString()}`,
        'Check the clocks of this host and of the host that issued it.',
        'tls',
      ),
    ];
  }
  const findings: Judged[] = [];
  if (problem !== undefined) findings.push(judgeProblem(problem, who, names, asked, judge));
  if (days < EXPIRY_WARN_DAYS) {
    findings.push(
      warn(
        `The server's certificate expires in ${days} days`,
        who,
        'Renew the certificate and let redis-server load it (CONFIG SET tls-cert-file …).',
        'certificate-expiring',
      ),
    );
  }
  return findings.length > 0
    ? findings
    : [
        pass(
          `${protocol} with a certificate that is trusted for ${asked}`,
          `${who} (${days} days)`,
        ),
      ];
}

function judgeProblem(
  problem: string,
  who: string,
  names: string,
  asked: string,
  judge: typeof fail,
): Judged {
  if (problem === 'ERR_TLS_CERT_ALTNAME_INVALID') {
    const remedy =
      isIP(asked) === 0
        ? 'Use a host name that the certificate has, or name it with REDIS_TLS_SERVER_NAME.'
        : 'Use the host name instead of the IP address, or name it with REDIS_TLS_SERVER_NAME.';
    const has = names === '' ? 'it has no names' : `it is for ${names}`;
    return judge(`The server's certificate is not for ${asked}`, `${who}; ${has}`, remedy, 'tls');
  }
  if (problem === 'DEPTH_ZERO_SELF_SIGNED_CERT') {
    return judge(
      "The server's certificate is self-signed and not trusted here",
      `${who} (${problem})`,
      'Name the certificate itself, or its authority, with REDIS_TLS_CA_FILE.',
      'tls',
    );
  }
  return judge(
    "The chain of the server's certificate does not lead to an authority that is trusted here",
    `${who} (${problem})`,
    'Name the authority with REDIS_TLS_CA_FILE; let the server send intermediate certificates too.',
    'tls',
  );
}
