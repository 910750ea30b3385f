/**
 * Traces, where OTEL_EXPORTER_OTLP_ENDPOINT asks for them. No SDK and no exporter is loaded before
 * that, and what it does never delays a job or a stop.
 */
import type { Telemetry } from 'bullmq';
import type { Instant } from '../time.ts';

export interface TracingOptions {
  /** Base URL of the collector; `/v1/traces` is added. */
  endpoint: string;
  /** What the spans are attributed to. */
  serviceName: string;
  version: string;
  replica: string;
}

/** Headers as Node's HTTP server gives them. */
export type CallerHeaders = Readonly<Record<string, string | string[] | undefined>>;

export interface Tracing {
  /** For BullMQ's Worker, Queue and FlowProducer. */
  readonly telemetry: Telemetry;
  /** The trace that the present code runs in. */
  traceId(): string | undefined;
  /** Does `work` in the trace that a caller's headers tell (`traceparent`), if they do. */
  continued(headers: CallerHeaders, work: () => void): void;
  /** Sends what is left, by `deadline` (monotonic ms) and within a second at most. Never rejects. */
  stop(deadline: Instant): Promise<void>;
}

export async function startTracing(options: TracingOptions): Promise<Tracing> {
  const { OtelTracing } = await import('./otel.ts');
  return new OtelTracing(options);
}
