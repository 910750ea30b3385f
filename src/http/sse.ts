/**
 * Server-sent events on a raw response: what was said already is not said again, silence is filled
 * before a proxy takes it for the end, and nothing is buffered for a reader that does not read.
 */
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';

export interface EventStream {
  /** Sends the event unless it is the same as the one before. */
  say(event: string, data: unknown): Promise<void>;
  /** Sends a comment when nothing was said for `heartbeatMs`. */
  beat(heartbeatMs: number): Promise<void>;
}

/**
 * Aborts when the reader has left, or the server stops. To be asked for before anything is waited for: who left
 * meanwhile is not told of a second time.
 */
export function readerOf(raw: ServerResponse, stopping: AbortSignal): AbortSignal {
  const reader = new AbortController();
  if (raw.destroyed) reader.abort();
  else raw.once('close', () => reader.abort());
  return AbortSignal.any([stopping, reader.signal]);
}

/** Begins the answer. `signal`: of `readerOf`. */
export function openStream(raw: ServerResponse, signal: AbortSignal): EventStream {
  raw.writeHead(200, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    // Nginx would otherwise hold events back until its buffer is full.
    'x-accel-buffering': 'no',
    connection: 'close',
  });
  let said = '';
  let spokeAt = performance.now();
  const write = async (text: string): Promise<void> => {
    // What is written to nobody is never drained.
    signal.throwIfAborted();
    spokeAt = performance.now();
    if (!raw.write(text)) await once(raw, 'drain', { signal });
  };
  return {
    async say(event, data) {
      const text = `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
      if (text === said) return;
      said = text;
      await write(text);
    },
    async beat(heartbeatMs) {
      if (performance.now() - spokeAt >= heartbeatMs) await write(': still here\n\n');
    },
  };
}

/** Ends the answer; a watcher of a server that stops is told to connect again. */
export function endStream(raw: ServerResponse, isStopping: boolean): void {
  if (isStopping && !raw.destroyed) raw.write('event: stopping\ndata: {}\n\n');
  raw.end();
}
