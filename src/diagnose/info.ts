/**
 * INFO as a map, and numbers out of it; the same for Redis, Valkey and what resembles them. A field
 * that is not there is undefined, never 0. Pure.
 */

export type Info = ReadonlyMap<string, string>;

export function parseInfo(text: string): Info {
  const fields = new Map<string, string>();
  for (const line of text.split(/\r?\n/)) {
    const colon = line.indexOf(':');
    if (colon > 0 && !line.startsWith('#')) fields.set(line.slice(0, colon), line.slice(colon + 1));
  }
  return fields;
}

export function numberOf(fields: ReadonlyMap<string, string>, name: string): number | undefined {
  const text = fields.get(name);
  if (text === undefined || !/^-?\d+(\.\d+)?$/.test(text)) return undefined;
  return Number(text);
}

export interface ReplicaLine {
  address: string;
  state: string;
  /** Seconds since its last acknowledgement. */
  lagSeconds: number;
  /** Bytes of the replication stream that it has not acknowledged. */
  behindBytes: number;
}

/** `slave0:ip=10.0.0.8,port=6379,state=online,offset=1,lag=0` */
export function replicasOf(info: Info): ReplicaLine[] {
  const offset = numberOf(info, 'master_repl_offset') ?? 0;
  return [...info]
    .filter(([name]) => /^slave\d+$/.test(name))
    .map(([, text]) => {
      const parts = new Map(text.split(',').map((part) => part.split('=', 2) as [string, string]));
      return {
        address: `${parts.get('ip')}:${parts.get('port')}`,
        state: parts.get('state') ?? 'unknown',
        lagSeconds: numberOf(parts, 'lag') ?? 0,
        behindBytes: Math.max(0, offset - (numberOf(parts, 'offset') ?? offset)),
      };
    });
}
