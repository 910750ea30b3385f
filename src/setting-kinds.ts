/**
 * What a setting may be, and how its text is read: durations, sizes, lists, addresses. Each kind says what it
 * takes, for the message that refuses another value and for docs/configuration.md. Pure.
 */
import { z } from 'zod';

const UNITS_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const UNITS_BYTES: Record<string, number> = { '': 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3 };

/** `25s`, `500ms`, `10m`, or plain milliseconds. */
const durationOf = (text: string): number | undefined => {
  const match = /^(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?$/.exec(text.trim());
  return match ? Math.round(Number(match[1]) * UNITS_MS[match[2] ?? 'ms']!) : undefined;
};

/** `1048576`, `512K`, `1M` (also with `B` or `iB`), in powers of 1024. */
const bytesOf = (text: string): number | undefined => {
  const match = /^(\d+(?:\.\d+)?)\s*([KMG]?)(?:i?B)?$/i.exec(text.trim());
  return match ? Math.round(Number(match[1]) * UNITS_BYTES[match[2]!.toUpperCase()]!) : undefined;
};

/** A number with a unit, within bounds that are written as its user would write them. */
const measure = (read: (text: string) => number | undefined, min: string, max: string) =>
  z.string().transform((text, context) => {
    const value = read(text);
    if (value !== undefined && value >= read(min)! && value <= read(max)!) return value;
    context.addIssue('not within its bounds');
    return z.NEVER;
  });

const integer = (min: number, max: number) =>
  z
    .string()
    .regex(/^-?\d+$/)
    .transform(Number)
    .pipe(z.number().min(min).max(max));

const flag = z
  .string()
  .toLowerCase()
  .pipe(z.enum(['true', 'false', '1', '0', 'yes', 'no', 'on', 'off']))
  .transform((word) => ['true', '1', 'yes', 'on'].includes(word));

export const list = z.string().transform((text) =>
  text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== ''),
);

const hosts = z.string().transform((text, context) => {
  const found: { host: string; port: number }[] = [];
  for (const part of text.split(',').map((entry) => entry.trim())) {
    const match = /^(?:redis:\/\/)?(\[[0-9a-f:]+\]|[^:/\s]+):(\d{1,5})$/i.exec(part);
    const port = Number(match?.[2]);
    if (!match || port < 1 || port > 65_535) {
      context.addIssue(`"${part}" is not host:port`);
      return z.NEVER;
    }
    found.push({ host: match[1]!.replace(/^\[|\]$/g, ''), port });
  }
  return found;
});

export const names = list.pipe(z.array(z.string().regex(/^[a-z0-9_.-]+$/i)));

/** Scheme, host and port, as browsers send it in `Origin`. */
export const origin = z.string().transform((text, context) => {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isOrigin = url && /^https?:$/.test(url.protocol) && `${url.pathname}${url.search}` === '/';
  if (isOrigin && url.username === '') return url.origin;
  context.addIssue('not an origin');
  return z.NEVER;
});

/** Base64 with its padding, as the Standard Webhooks libraries decode it. */
export const WEBHOOK_SECRET =
  /^(whsec_)?(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{2}==)$/;

export const kinds = {
  /** `max` is the longest that makes sense; a timer of Node ends at 24 days. */
  duration: (min: string, max: string) => ({
    parse: measure(durationOf, min, max),
    allowed: `a duration from ${min} to ${max}, such as 500ms, 25s or 10m`,
  }),
  bytes: (min: string, max: string) => ({
    parse: measure(bytesOf, min, max),
    allowed: `a size from ${min} to ${max}, such as 65536, 512K or 1M`,
  }),
  flag: { parse: flag, allowed: 'true or false' },
  list: { parse: list, allowed: 'a list separated by commas' },
  text: { parse: z.string().min(1), allowed: 'a text that is not empty' },
  hosts: { parse: hosts, allowed: 'host:port, several separated by commas' },
  port: { parse: integer(0, 65_535), allowed: 'a port from 0 to 65535 (0: any free one)' },
  count: (min: number, max: number) => ({
    parse: integer(min, max),
    allowed: `a whole number from ${min} to ${max}`,
  }),
} as const;

export function oneOf(...words: [string, ...string[]]) {
  return { parse: z.enum(words), allowed: `one of ${words.join(', ')}` };
}
