/** A small OTLP/HTTP collector on loopback: keeps the spans that come, and who they are from. */
import { EventEmitter, once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface CollectedSpan {
  name: string;
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  attributes: Record<string, unknown>;
  resource: Record<string, unknown>;
}

export interface Collector extends AsyncDisposable {
  url: string;
  spans: CollectedSpan[];
  /** Resolves with the first spans that fit, once there are so many. */
  until(fits: (span: CollectedSpan) => boolean, count?: number): Promise<CollectedSpan[]>;
}

interface Pair {
  key: string;
  value: Record<string, unknown>;
}

interface Batch {
  resourceSpans: {
    resource: { attributes: Pair[] };
    scopeSpans: { spans: (Omit<CollectedSpan, 'attributes'> & { attributes: Pair[] })[] }[];
  }[];
}

const fieldsOf = (pairs: Pair[]) =>
  Object.fromEntries(pairs.map(({ key, value }) => [key, Object.values(value)[0]]));

export async function startCollector(): Promise<Collector> {
  const spans: CollectedSpan[] = [];
  const came = new EventEmitter();
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += chunk;
    for (const { resource, scopeSpans } of (JSON.parse(body) as Batch).resourceSpans) {
      for (const span of scopeSpans.flatMap((scope) => scope.spans)) {
        const own = fieldsOf(resource.attributes);
        spans.push({ ...span, attributes: fieldsOf(span.attributes), resource: own });
      }
    }
    response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
    came.emit('spans');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans,
    async until(fits, count = 1) {
      for (;;) {
        const found = spans.filter(fits);
        if (found.length >= count) return found;
        await once(came, 'spans');
      }
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
