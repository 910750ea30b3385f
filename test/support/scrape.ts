/** Reads the Prometheus text format, as much of it as tests ask for. */
export interface Series {
  labels: Record<string, string>;
  value: number;
}

/** All series of a sample name, e.g. `x_total` or `x_bucket`. */
export function seriesIn(text: string, name: string): Series[] {
  const found: Series[] = [];
  for (const line of text.split('\n')) {
    const match = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (!match || match[1] !== name) continue;
    const pairs = [...(match[2] ?? '').matchAll(/(\w+)="((?:\\.|[^"\\])*)"/g)];
    found.push({
      labels: Object.fromEntries(pairs.map(([, key, value]) => [key!, value!])),
      value: Number(match[3]),
    });
  }
  return found;
}

/** The value of the one series with these labels, among others; undefined without one. */
export function valueIn(
  text: string,
  name: string,
  labels: Record<string, string> = {},
): number | undefined {
  return seriesIn(text, name).find((series) =>
    Object.entries(labels).every(([key, value]) => series.labels[key] === value),
  )?.value;
}
