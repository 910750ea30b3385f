/**
 * OpenTelemetry, put together for BullMQ: provider, batches, exporter, context and propagation. Loaded
 * by `tracing.ts` only. OpenTelemetry's registrations are global by design: what an app that embeds
 * the service registered stays, and ours go with the service.
 */
import {
  type Context,
  context,
  propagation,
  type SpanAttributes,
  SpanKind,
  trace,
} from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import {
  AlwaysOnSampler,
  BatchSpanProcessor,
  ParentBasedSampler,
  type Sampler,
  SamplingDecision,
  TracerProvider,
  type TracerProviderOptions,
} from '@opentelemetry/sdk-trace';
import type { Telemetry } from 'bullmq';
import { BullMQOtel } from 'bullmq-otel';
import { systemClock } from '../time.ts';
import { AsyncContextManager, TraceContextPropagator } from './otel-context.ts';
import type { CallerHeaders, Tracing, TracingOptions } from './tracing.ts';

/** One request to the collector, its repetitions included, ms. */
const EXPORT_MS = 5000;
/** A stop waits this long for the collector, ms. */
const FLUSH_MS = 1000;

type Resource = NonNullable<TracerProviderOptions['resource']>;

export class OtelTracing implements Tracing {
  readonly telemetry: Telemetry;
  readonly #provider: TracerProvider;
  /** Takes our global registrations back. */
  readonly #unregister: (() => void)[] = [];

  constructor({ endpoint, serviceName, version, replica }: TracingOptions) {
    const url = `${endpoint.replace(/\/+$/, '')}/v1/traces`;
    const exporter = new OTLPTraceExporter({ url, timeoutMillis: EXPORT_MS });
    this.#provider = new TracerProvider({
      sampler: new WithoutHousekeeping(),
      resource: resourceOf({
        'service.name': serviceName,
        'service.version': version,
        'service.instance.id': replica,
      }),
      spanProcessors: [new BatchSpanProcessor({ exporter, exportTimeoutMillis: EXPORT_MS })],
    });
    this.#register(trace.setGlobalTracerProvider(this.#provider), () => trace.disable());
    this.#register(context.setGlobalContextManager(new AsyncContextManager()), () =>
      context.disable(),
    );
    this.#register(propagation.setGlobalPropagator(new TraceContextPropagator()), () =>
      propagation.disable(),
    );
    this.telemetry = new BullMQOtel({ tracerName: 'holdfast', version });
  }

  #register(isOurs: boolean, unregister: () => void): void {
    if (isOurs) this.#unregister.push(unregister);
  }

  traceId(): string | undefined {
    return trace.getActiveSpan()?.spanContext().traceId;
  }

  continued(headers: CallerHeaders, work: () => void): void {
    context.with(propagation.extract(context.active(), headers), work);
  }

  async stop(deadline: number): Promise<void> {
    const waitMs = Math.max(0, Math.min(FLUSH_MS, deadline - systemClock.now()));
    let cancel = (): void => {};
    const late = new Promise<void>((resolve) => {
      cancel = systemClock.after(waitMs, resolve);
    });
    // A collector that is not there is no reason for an error: its spans are lost.
    const flushed = this.#provider.shutdown().catch(() => {});
    await Promise.race([flushed, late]);
    cancel();
    for (const unregister of this.#unregister.splice(0)) unregister();
  }
}

/**
 * Everything but what BullMQ does for itself: an idle worker asks for work all the time, and each
 * question would be a trace of its own.
 */
class WithoutHousekeeping implements Sampler {
  readonly #sampler = new ParentBasedSampler({ root: new AlwaysOnSampler() });

  shouldSample(
    parent: Context,
    traceId: string,
    name: string,
    kind: SpanKind,
    attributes: SpanAttributes,
    links: Parameters<Sampler['shouldSample']>[5],
  ): ReturnType<Sampler['shouldSample']> {
    if (kind === SpanKind.INTERNAL && trace.getSpan(parent) === undefined) {
      return { decision: SamplingDecision.NOT_RECORD };
    }
    return this.#sampler.shouldSample(parent, traceId, name, kind, attributes, links);
  }

  toString(): string {
    return 'WithoutHousekeeping';
  }
}

function resourceOf(attributes: Resource['attributes']): Resource {
  return {
    attributes,
    merge: (other) => resourceOf({ ...attributes, ...other?.attributes }),
    getRawAttributes: () => Object.entries(attributes),
  };
}
