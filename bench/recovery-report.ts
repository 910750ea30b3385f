/** What `bench:outage` found, beside what is promised. */

export interface Measured {
  what: string;
  value: number;
  bound: number;
  unit: string;
  /** How it was measured: repetitions, middle. */
  of: string;
}

export function draw(measured: readonly Measured[]): string {
  const lines = measured.map(({ what, value, bound, unit, of }) =>
    [
      what.padEnd(58),
      `${value} ${unit}`.padStart(16),
      (Number.isFinite(bound) ? `≤ ${bound}` : '').padStart(9),
      (value <= bound ? 'holds' : 'BROKEN').padEnd(7),
      of,
    ].join('  '),
  );
  return `${lines.join('\n')}\n`;
}

/** The value below which `share` of all are; of 20 the 99th percentile is the largest. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return Math.round(
    sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? NaN,
  );
}
