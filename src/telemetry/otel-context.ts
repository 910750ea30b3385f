/**
 * What OpenTelemetry's API leaves to packages of their own: which trace the present code runs in (kept
 * by Node's AsyncLocalStorage), and how it is written down (W3C Trace Context).
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import {
  type Context,
  type ContextManager,
  createTraceState,
  isSpanContextValid,
  ROOT_CONTEXT,
  type TextMapGetter,
  type TextMapPropagator,
  type TextMapSetter,
  trace,
} from '@opentelemetry/api';

export class AsyncContextManager implements ContextManager {
  readonly #storage = new AsyncLocalStorage<Context>();

  active(): Context {
    return this.#storage.getStore() ?? ROOT_CONTEXT;
  }

  with<A extends unknown[], F extends (...args: A) => ReturnType<F>>(
    context: Context,
    work: F,
    thisArg?: ThisParameterType<F>,
    ...args: A
  ): ReturnType<F> {
    return this.#storage.run(context, () => work.call(thisArg as never, ...args));
  }

  bind<T>(context: Context, target: T): T {
    if (typeof target !== 'function') return target;
    const bound = (...args: unknown[]): unknown =>
      this.#storage.run(context, () => target(...args));
    return bound as T;
  }

  enable(): this {
    return this;
  }

  disable(): this {
    this.#storage.disable();
    return this;
  }
}

const PARENT = 'traceparent';
const STATE = 'tracestate';
/** https://www.w3.org/TR/trace-context/#traceparent-header; later versions may add fields behind. */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$/;

export class TraceContextPropagator implements TextMapPropagator {
  inject(context: Context, carrier: unknown, setter: TextMapSetter): void {
    const span = trace.getSpanContext(context);
    if (!span || !isSpanContextValid(span)) return;
    const flags = span.traceFlags.toString(16).padStart(2, '0');
    setter.set(carrier, PARENT, `00-${span.traceId}-${span.spanId}-${flags}`);
    if (span.traceState) setter.set(carrier, STATE, span.traceState.serialize());
  }

  extract(context: Context, carrier: unknown, getter: TextMapGetter): Context {
    const [parent] = [getter.get(carrier, PARENT)].flat();
    const match = TRACEPARENT.exec(parent ?? '');
    if (!match) return context;
    const span = {
      traceId: match[1]!,
      spanId: match[2]!,
      traceFlags: Number.parseInt(match[3]!, 16),
      isRemote: true,
    };
    if (!isSpanContextValid(span)) return context;
    const state = [getter.get(carrier, STATE)].flat().join(',');
    return trace.setSpanContext(
      context,
      state === '' ? span : { ...span, traceState: createTraceState(state) },
    );
  }

  fields(): string[] {
    return [PARENT, STATE];
  }
}
