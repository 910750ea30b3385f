/**
 * docs/metrics.md, made from the table of metrics. `node src/metrics-page.ts` writes it; a test compares.
 */
import { writeFileSync } from 'node:fs';
import { type MetricRow, metricTable } from './telemetry/metric-table.ts';

export function metricsPage(): string {
  const rows = Object.entries(metricTable).map(([name, row]: [string, MetricRow]) => {
    const labels = row.labels.map((label) => `\`${label}\``).join(' ');
    return `| \`${name}\` | ${row.type} | ${labels} | ${row.help} |`;
  });
  return `# Metrics and traces

\`GET /metrics\` answers in the Prometheus text format, or in OpenMetrics where \`Accept\` asks for it. It is
served with the rest of HTTP (where a token is set: a reader's, \`HTTP_READ_TOKEN\`), and with
\`METRICS_PORT\` also on a port of its own that has nothing else and wants no token: on loopback, unless
\`METRICS_HOST\` says otherwise. A scrape is answered at once, also while Redis is away.

\`\`\`yaml
# prometheus.yml
rule_files: [holdfast.rules.yml]
scrape_configs:
  - job_name: holdfast
    authorization: { credentials_file: /run/secrets/holdfast-read-token }
    static_configs: [{ targets: ['holdfast:8080'] }]
\`\`\`

- **Alert rules**: [deploy/prometheus/holdfast.rules.yml](../deploy/prometheus/holdfast.rules.yml), tested
  with \`promtool\` (\`holdfast.rules.test.yml\` beside it). Each says in its annotations what it means
  and what to do.
- **Dashboard**: [deploy/grafana/holdfast.json](../deploy/grafana/holdfast.json), to be imported into
  Grafana.
- **Labels** are bounded: queues are those that a handler names, conditions those of
  [conditions.md](conditions.md). Nothing that a caller sends becomes a label.
- **Figures of queues** (\`holdfast_queue_jobs\`, \`…_backlog_jobs\`, \`…_oldest_job_age_seconds\`) are the same on
  every replica: take \`max by (queue)\`, not a sum. They are read from Redis at most every 3 s, when
  somebody scrapes, and have no series from 15 s after Redis went away: nobody knows then.
- **The age of the oldest job** is that of the job which is next, in the order of time or of priority;
  counted from when it was due, for a retry from when its last attempt began.

| metric | type | labels | meaning |
|---|---|---|---|
${rows.join('\n')}

## Traces

With \`OTEL_EXPORTER_OTLP_ENDPOINT\` (e.g. \`http://127.0.0.1:4318\`), spans of adding and of running jobs are
sent by OTLP over HTTP (\`bullmq-otel\`). A job carries the trace of whoever added it: a handler, an HTTP
request with a \`traceparent\` header, or plain BullMQ with the same package in another process; also
through the journal. Lines about a job have its \`traceId\`.

Without the variable no SDK and no exporter is loaded. A collector that does not answer holds up no job:
2,048 spans are kept, more are dropped, and a stop waits for it 1 s at most.
\`OTEL_EXPORTER_OTLP_HEADERS\` and the other variables of the exporter are read as OpenTelemetry defines
them. An app that has registered OpenTelemetry itself keeps its own.
`;
}

if (import.meta.main) writeFileSync('docs/metrics.md', metricsPage());
