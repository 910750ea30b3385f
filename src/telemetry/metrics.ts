/**
 * The metrics of one service: a registry of its own, made from the table, and the text that a scrape
 * gets. Knows nothing of what is measured: the composition root feeds it, and pure parts are handed
 * small interfaces.
 *
 * What it must never do: keep a scrape waiting for anything outside of this process.
 */
import { Counter, Gauge, Histogram, type OpenMetricsContentType, Registry } from 'prom-client';
import { type MetricName, type MetricRow, metricTable } from './metric-table.ts';

/** What a scrape gets. */
export interface Exposition {
  contentType: string;
  body: string;
}

type Labels = Readonly<Record<string, string>>;

/** Counted up. `by` defaults to 1. */
export interface CountUp {
  inc(by?: number): void;
}
export interface Level {
  set(value: number): void;
}
export interface Distribution {
  observe(value: number): void;
}

type Kinds = { counter: Counter; gauge: Gauge; histogram: Histogram };
type NamesOf<Type extends keyof Kinds> = {
  [Name in MetricName]: (typeof metricTable)[Name]['type'] extends Type ? Name : never;
}[MetricName];

export class Metrics {
  readonly #registry = new Registry();
  /** The same metrics under the names that OpenMetrics wants. */
  readonly #open = new Registry<OpenMetricsContentType>();
  readonly #byName = new Map<string, Counter | Gauge | Histogram>();
  readonly #collectors = new Set<() => void>();

  constructor() {
    this.#open.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
    for (const [name, row] of Object.entries(metricTable)) this.#add(name, row);
  }

  #add(name: string, row: MetricRow): void {
    const { type, help, labels, buckets } = row;
    const options = { name, help, labelNames: [...labels], registers: [this.#registry] };
    let metric: Counter | Gauge | Histogram;
    if (type === 'counter') metric = new Counter(options);
    else if (type === 'gauge') metric = new Gauge(options);
    else metric = new Histogram({ ...options, buckets: [...(buckets ?? [])] });
    this.#byName.set(name, metric);
    // prom-client renames a counter for good when it is asked for OpenMetrics, so it is given a copy.
    const openName = type === 'counter' ? name.replace(/_total$/, '') : name;
    const copy = Object.create(metric, {
      name: { value: openName, writable: true },
      get: { value: async () => ({ ...(await metric.get()), name: openName }) },
    });
    this.#open.registerMetric(copy);
  }

  #metric<Type extends keyof Kinds>(name: NamesOf<Type>): Kinds[Type] {
    return this.#byName.get(name) as Kinds[Type];
  }

  /** One series of a counter; kept by who counts often, so that nothing is looked up for a job. */
  counter(name: NamesOf<'counter'>, labels: Labels = {}): CountUp {
    const metric = this.#metric<'counter'>(name);
    return Object.keys(labels).length === 0 ? metric : metric.labels(labels);
  }

  gauge(name: NamesOf<'gauge'>, labels: Labels = {}): Level {
    const metric = this.#metric<'gauge'>(name);
    return Object.keys(labels).length === 0 ? metric : metric.labels(labels);
  }

  histogram(name: NamesOf<'histogram'>, labels: Labels = {}): Distribution {
    const metric = this.#metric<'histogram'>(name);
    if (Object.keys(labels).length > 0) return metric.labels(labels);
    return { observe: (value) => metric.observe(value) };
  }

  /** A counter whose total is known elsewhere; never lower than before. */
  total(name: NamesOf<'counter'>, value: number, labels: Labels = {}): void {
    const metric = this.#metric<'counter'>(name);
    metric.remove(labels);
    metric.inc(labels, value);
  }

  /** All series of a gauge, in place of those that it had: what is not named any more is gone. */
  replace(name: NamesOf<'gauge'>, series: readonly { labels: Labels; value: number }[]): void {
    const metric = this.#metric<'gauge'>(name);
    metric.reset();
    // Without labels `reset` leaves a 0, which would say something.
    metric.remove({});
    for (const { labels, value } of series) metric.set(labels, value);
  }

  /** `collect` is called before each scrape, to set what is cheaper asked than followed. */
  onScrape(collect: () => void): void {
    this.#collectors.add(collect);
  }

  /** The text for a scraper with this Accept header. */
  async scrape(accept = ''): Promise<Exposition> {
    for (const collect of this.#collectors) collect();
    const isOpen = accept.includes('application/openmetrics-text');
    const registry = isOpen ? this.#open : this.#registry;
    return { contentType: registry.contentType, body: await registry.metrics() };
  }
}
