/**
 * Jobs through a running service. Every call has a deadline, and a call whose answer was lost is
 * repeated: job ids are set before the first try, so that nothing is added twice.
 */
import pRetry, { AbortError } from 'p-retry';
import {
  HoldfastError,
  JobNotFoundError,
  NothingReachableError,
  OutcomeUnknownError,
  RedisUnavailableError,
} from '../errors.ts';
import type { JobInput } from '../http/job-input.ts';
import { jobPath } from '../http/jobs.ts';
import type { Accepted, JobView } from '../queue/client.ts';
import type { FleetView } from '../queue/fleet-view.ts';
import { reasonOf } from './reason.ts';
import type { QueueCounts, Route } from './route.ts';

/** Above the service's own deadlines, so that its answer with the reason arrives first. */
const CALL_MS = 25_000;
const READ_MS = 8000;
/** A lost answer is repeated twice: enough for a replica behind a balancer that just stopped. */
const RETRIES = 2;

/** What a replica answers that was isolated or released. */
export interface IsolationView {
  replica: string;
  breaker: string;
  condition?: string;
}

export class HttpRoute implements Route {
  readonly name: string;
  readonly #url: string;
  readonly #headers: Record<string, string>;

  constructor(url: string, token: string | undefined) {
    this.#url = url;
    this.name = `the service at ${url}`;
    this.#headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  }

  async enqueue(
    queue: string,
    jobs: readonly JobInput[],
    allowUnknown: boolean,
  ): Promise<Accepted[]> {
    const path = `/v1/queues/${encodeURIComponent(queue)}/jobs${allowUnknown ? '?unknown=allow' : ''}`;
    const body = JSON.stringify({ jobs });
    const post = async (): Promise<Response> => {
      try {
        return await this.#call(path, CALL_MS, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body,
        });
      } catch (error) {
        // An answer, even a refusal, is an answer: only silence is worth another try.
        if (error instanceof NothingReachableError) throw error;
        throw new AbortError(error as Error);
      }
    };
    const response = await pRetry(post, {
      retries: RETRIES,
      minTimeout: 200,
      randomize: true,
    }).catch((error: unknown) => {
      if (!(error instanceof NothingReachableError)) throw error;
      const ids = jobs.map(({ options }) => `${options.jobId}`);
      throw new OutcomeUnknownError(this.name, ids, error);
    });
    return ((await response.json()) as { jobs: Accepted[] }).jobs;
  }

  async job(queue: string, id: string): Promise<JobView | undefined> {
    try {
      const response = await this.#call(jobPath(queue, id), READ_MS);
      return (await response.json()) as JobView;
    } catch (error) {
      if (error instanceof JobNotFoundError) return undefined;
      throw error;
    }
  }

  async document(queue: string, id: string): Promise<string | undefined> {
    try {
      return await (await this.#call(`${jobPath(queue, id)}/document`, READ_MS)).text();
    } catch (error) {
      if (error instanceof NothingReachableError) throw error;
      return undefined;
    }
  }

  async queues(): Promise<QueueCounts[]> {
    const response = await this.#call('/v1/queues', READ_MS);
    return ((await response.json()) as { queues: QueueCounts[] }).queues;
  }

  async replicas(): Promise<FleetView> {
    try {
      return (await (await this.#call('/v1/replicas', READ_MS)).json()) as FleetView;
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      return { replicas: [], isComplete: false, reason: error.message };
    }
  }

  /** Opens this service's breaker by hand, or releases it; answers with its state. */
  async setIsolated(isIsolated: boolean, reason?: string): Promise<IsolationView> {
    const response = await this.#call(`/v1/${isIsolated ? 'isolate' : 'release'}`, READ_MS, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(reason === undefined ? {} : { reason }),
    });
    return (await response.json()) as IsolationView;
  }

  async close(): Promise<void> {
    // fetch keeps no connection that would hold the process.
  }

  async #call(path: string, timeoutMs: number, init: RequestInit = {}): Promise<Response> {
    let response: Response;
    try {
      response = await fetch(this.#url + path, {
        ...init,
        headers: { ...this.#headers, ...(init.headers as Record<string, string>) },
        signal: AbortSignal.timeout(timeoutMs),
        redirect: 'error',
      });
    } catch (error) {
      throw new NothingReachableError([`${this.#url}: ${reasonOf(error)}`]);
    }
    if (response.ok) return response;
    throw await refusalOf(response);
  }
}

/** The service's problem document as the error that it was made of. */
async function refusalOf(response: Response): Promise<HoldfastError> {
  const text = await response.text().catch(() => '');
  let problem: Record<string, unknown> = {};
  try {
    problem = JSON.parse(text);
  } catch {
    // A proxy's page, perhaps: the status alone must do.
  }
  const { code, detail, remedy } = problem;
  if (typeof code !== 'string' || typeof detail !== 'string') {
    return new HoldfastError(
      'HOLDFAST_SERVICE_BUSY',
      `The service answered HTTP ${response.status} without a reason.`,
      'Look into its log, or at what stands between it and you.',
    );
  }
  if (code === 'HOLDFAST_JOB_NOT_FOUND') {
    return new JobNotFoundError(`${problem.queue}`, `${problem.jobId}`);
  }
  if (code === 'HOLDFAST_REDIS_UNAVAILABLE') {
    const outageId = typeof problem.outageId === 'string' ? problem.outageId : undefined;
    return new RedisUnavailableError(`${problem.operation}`, `${problem.condition}`, outageId);
  }
  if (code === 'HOLDFAST_OUTCOME_UNKNOWN' && Array.isArray(problem.jobIds)) {
    return new OutcomeUnknownError('the service', problem.jobIds.map(String));
  }
  // The detail ends with the remedy already.
  const what = typeof remedy === 'string' ? detail.replace(remedy, '').trim() : detail;
  return new HoldfastError(code, what, typeof remedy === 'string' ? remedy : '', { data: problem });
}
