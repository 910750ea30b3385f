/**
 * One delivery: signed, with a deadline for each try and for all, tried again where that may help.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import pRetry from 'p-retry';
import { Webhook } from 'standardwebhooks';
import { request } from 'undici';
import { AddressRefused, createAgent } from './address.ts';
import type { WebhookSettings } from './settings.ts';

/** One try, from connecting to the last byte, ms. */
const TRY_MS = 15_000;
/** All tries of one attempt, ms; the job's own attempts come after. */
const ATTEMPT_MS = 60_000;
const TRIES = 4;
const BACKOFF_BASE_MS = 500;
const BACKOFF_CAP_MS = 15_000;
/** What is recorded of an answer, characters. */
const ANSWER_CHARS_MAX = 2000;
const USER_AGENT = 'holdfast-webhook';

export interface DeliveryRequest {
  url: URL;
  /** The same for every try, so that the receiver can tell repeats. */
  id: string;
  body: string;
  settings: WebhookSettings;
  signal: AbortSignal;
  onRetry(why: string, delayMs: number): void;
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

/** The receiver could not be reached, or asked to come again. */
class TryAgain extends Error {
  readonly afterMs: number | undefined;
  constructor(why: string, afterMs?: number) {
    super(why);
    this.afterMs = afterMs;
  }
}

/** @throws Error when no try came through; the job's attempts decide what follows */
export async function deliver(delivery: DeliveryRequest): Promise<Delivery> {
  const { url, settings } = delivery;
  if (url.protocol !== 'https:' && !settings.allowHttp) {
    throw new AddressRefused(
      `${url.origin} is not https; set WEBHOOK_ALLOW_HTTP=true if that is meant`,
    );
  }
  const agent = createAgent(settings.allowPrivate, TRY_MS);
  const began = performance.now();
  const signal = AbortSignal.any([delivery.signal, AbortSignal.timeout(ATTEMPT_MS)]);
  let tries = 0;
  try {
    const answer = await pRetry(
      () => {
        tries += 1;
        return tryOnce(delivery, agent, signal);
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
  { url, id, body, settings }: DeliveryRequest,
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
      headers: { ...signature(id, body, settings.secret), ...HEADERS },
      body,
      signal: AbortSignal.any([signal, AbortSignal.timeout(TRY_MS)]),
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
    throw new TryAgain(`${url.origin} answered ${status}`, waitOf(retryAfter));
  }
  return { status, answer, isRefused: true };
}

const HEADERS = { 'content-type': 'application/json', 'user-agent': USER_AGENT };

/** Headers of Standard Webhooks; the timestamp is that of the try. */
function signature(id: string, body: string, secret: string | undefined): Record<string, string> {
  const now = new Date();
  return {
    'webhook-id': id,
    'webhook-timestamp': String(Math.floor(now.getTime() / 1000)),
    ...(secret ? { 'webhook-signature': new Webhook(secret).sign(id, now, body) } : {}),
  };
}

/** `Retry-After` in seconds or as a date, bounded. */
function waitOf(header: string | undefined): number | undefined {
  if (header === undefined) return undefined;
  const seconds = Number(header);
  const ms = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(header) - Date.now();
  return Number.isFinite(ms) ? Math.min(Math.max(0, ms), BACKOFF_CAP_MS * 2) : undefined;
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
