/** Times as people in front of a terminal read them: how long ago, or in how long. */

const UNITS: readonly (readonly [string, number])[] = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1000],
];

/** `3 min`; the two largest units beyond a minute: `2 h 5 min`. */
export function span(ms: number): string {
  const parts: string[] = [];
  let rest = Math.max(0, Math.round(ms / 1000) * 1000);
  for (const [unit, unitMs] of UNITS) {
    const count = Math.floor(rest / unitMs);
    rest -= count * unitMs;
    if (count > 0) parts.push(`${count} ${unit}`);
    if (parts.length === 2) break;
  }
  return parts.join(' ') || '0 s';
}

/** `3 min ago`, or `in 3 min`; `now` and `at` in ms since the epoch. */
export function when(at: number, now: number = Date.now()): string {
  return at > now ? `in ${span(at - now)}` : `${span(now - at)} ago`;
}

/** A count of things: `1 job`, `1,204 jobs`, `2 entries`. */
export function many(count: number, noun: string): string {
  const plural = `${noun.replace(/y$/, 'ie')}s`;
  return `${count.toLocaleString('en')} ${count === 1 ? noun : plural}`;
}
