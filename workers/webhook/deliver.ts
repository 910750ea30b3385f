/**
 * One delivery: signed, with a deadline for each try and for all, tried again where that may help.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Config } from 'holdfast';
import pRetry from 'p-retry';
import { Webhook } from 'standardwebhooks';
import { request } from 'undici';
import { AddressRefused, createAgent } from './address.ts';

export interface Deadlines {
  /** One try, from connecting to the last byte, ms. */
  tryMs: number;
  /** All tries of one attempt, ms; the job's own attempts come after. */
  attemptMs: number;
}

const DEADLINES: Deadlines = { tryMs: 15_000, attemptMs: 60_000 };
const TRIES = 4;
const BACKOFF_BASE_MS = 500;
const BACKOFF_CAP_MS = 15_000;
/** A longer `Retry-After` holds no slot here: the job comes again then, ms. */
const WAIT_MS_MAX = 15_000;
/** Nobody is left alone for longer, whatever they ask, ms. */
const LATER_MS_MAX = 24 * 60 * 60 * 1000;
/** What is recorded of an answer, characters. */
const ANSWER_CHARS_MAX = 2000;
/** What an error says of it: enough for a reason, characters. */
const REASON_CHARS_MAX = 300;
const USER_AGENT = 'holdfast-webhook';

export interface DeliveryRequest {
  url: URL;
  /** The same for every try, so that the receiver can tell repeats. */
  id: string;
  body: string;
  settings: Config['webhook'];
  signal: AbortSignal;
  onRetry(why: string, delayMs: number): void;
  deadlines?: Deadlines;
}

export interface Delivery {
  status: number;
  /** The beginning of what was answered. */
  answer: string;
  tries: number;
  durationMs: number;
  /** Answered with a no that trying again does not change. */
  isRefused: boolean;
}

/** The webhook must not go out as it is; trying again does not help. */
export class DeliveryRefused extends Error {}

/** The receiver asks to be left alone for longer than one attempt lasts. */
export class ComeLater extends Error {
  readonly afterMs: number;
  constructor(why: string, afterMs: number) {
    super(why);
    this.afterMs = afterMs;
  }
}

/** The receiver could not be reached, or asked to come again. */
class TryAgain extends Error {
  readonly afterMs: number | undefined;
  constructor(why: string, afterMs?: number) {
    super(why);
    this.afterMs = afterMs;
  }
}

/**
 * @throws DeliveryRefused or AddressRefused when it must not go out, ComeLater when the receiver asks for
 * that, Error when no try came through; the job's attempts decide what follows
 */
export async function deliver(delivery: DeliveryRequest): Promise<Delivery> {
  const { url, settings, deadlines = DEADLINES } = delivery;
  if (url.protocol !== 'https:' && !settings.allowHttp) {
    throw new DeliveryRefused(
      `${url.origin} is not https; set WEBHOOK_ALLOW_HTTP=true if that is meant`,
    );
  }
  const { secret } = settings;
  if (secret === undefined && !settings.allowUnsigned) {
    throw new DeliveryRefused(
      'there is no secret to sign webhooks with; set WEBHOOK_SECRET (make one: echo "whsec_$(openssl rand -base64 32)"), or WEBHOOK_ALLOW_UNSIGNED=true if the receiver verifies nothing',
    );
  }
  const signer = secret === undefined ? undefined : signerOf(secret);
  const agent = createAgent(settings.allowPrivate, deadlines.tryMs);
  const began = performance.now();
  const signal = AbortSignal.any([delivery.signal, AbortSignal.timeout(deadlines.attemptMs)]);
  let tries = 0;
  try {
    const answer = await pRetry(
      () => {
        tries += 1;
        return tryOnce(delivery, signer, agent, signal);
      },
      {
        retries: TRIES - 1,
        // p-retry only doubles its jitter; the pause is ours, in `onFailedAttempt`.
        minTimeout: 0,
        factor: 1,
        signal,
        shouldRetry: ({ error }) => error instanceof TryAgain,
        onFailedAttempt: async ({ error, attemptNumber, retriesLeft }) => {
          if (!(error instanceof TryAgain) || retriesLeft === 0) return;
          const delayMs = error.afterMs ?? fullJitter(attemptNumber);
          delivery.onRetry(error.message, delayMs);
          await sleep(delayMs, undefined, { signal });
        },
      },
    );
    return { ...answer, tries, durationMs: Math.round(performance.now() - began) };
  } finally {
    await agent.destroy();
  }
}

function fullJitter(attempt: number): number {
  const ceiling = Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** (attempt - 1));
  return Math.round(Math.random() * ceiling);
}

async function tryOnce(
  { url, id, body, deadlines = DEADLINES }: DeliveryRequest,
  signer: Webhook | undefined,
  agent: ReturnType<typeof createAgent>,
  signal: AbortSignal,
): Promise<Pick<Delivery, 'status' | 'answer' | 'isRefused'>> {
  let status: number;
  let retryAfter: string | undefined;
  let answer: string;
  try {
    const response = await request(url, {
      method: 'POST',
      dispatcher: agent,
      headers: { ...signature(id, body, signer), ...HEADERS },
      body,
      signal: AbortSignal.any([signal, AbortSignal.timeout(deadlines.tryMs)]),
    });
    status = response.statusCode;
    retryAfter = String(response.headers['retry-after'] ?? '') || undefined;
    answer = await beginningOf(response.body);
  } catch (error) {
    if (error instanceof AddressRefused) throw error;
    if (signal.aborted) throw signal.reason;
    throw new TryAgain(`${url.origin} cannot be reached: ${(error as Error).message}`);
  }
  if (status >= 200 && status < 300) return { status, answer, isRefused: false };
  if (status >= 500 || [408, 425, 429].includes(status)) {
    const why = saying(url, status, answer);
    const waitMs = waitOf(retryAfter, Date.now());
    if (waitMs !== undefined && waitMs > WAIT_MS_MAX) throw new ComeLater(why, waitMs);
    throw new TryAgain(why, waitMs);
  }
  return { status, answer, isRefused: true };
}

/** Never the whole URL: people put tokens into paths and queries. */
export function saying(url: URL, status: number, answer: string): string {
  const text = answer.replace(/\s+/g, ' ').trim();
  if (text === '') return `${url.origin} answered ${status}`;
  const cut = text.length > REASON_CHARS_MAX ? `${text.slice(0, REASON_CHARS_MAX)}…` : text;
  return `${url.origin} answered ${status}: ${JSON.stringify(cut)}`;
}

const HEADERS = { 'content-type': 'application/json', 'user-agent': USER_AGENT };

/** A file of a secret may be replaced by anything while the service runs. */
function signerOf(secret: string): Webhook {
  try {
    return new Webhook(secret);
  } catch (error) {
    throw new Error('what WEBHOOK_SECRET_FILE holds now is not base64', { cause: error });
  }
}

/** Headers of Standard Webhooks; the timestamp is that of the try. */
function signature(id: string, body: string, signer: Webhook | undefined): Record<string, string> {
  const now = new Date();
  return {
    'webhook-id': id,
    'webhook-timestamp': String(Math.floor(now.getTime() / 1000)),
    ...(signer ? { 'webhook-signature': signer.sign(id, now, body) } : {}),
  };
}

/** `Retry-After` in seconds or as a date, bounded; ms from `now`. */
export function waitOf(header: string | undefined, now: number): number | undefined {
  if (header === undefined) return undefined;
  const seconds = Number(header);
  const ms = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(header) - now;
  return Number.isFinite(ms) ? Math.min(Math.max(0, ms), LATER_MS_MAX) : undefined;
}

/** Reads no more than is recorded: an endless answer must not fill memory. */
async function beginningOf(body: AsyncIterable<Buffer>): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  for await (const chunk of body) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length >= ANSWER_CHARS_MAX) break;
  }
  return text.slice(0, ANSWER_CHARS_MAX);
}
