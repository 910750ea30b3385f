/**
 * docs/logs.md and docs/logs.schema.json, made from the table of events. `node src/logs-page.ts` writes
 * them; a test compares.
 */
import { writeFileSync } from 'node:fs';
import { COMMON_FIELDS, events } from './telemetry/events.ts';

export function logsPage(): string {
  const rows = Object.entries(events).map(
    ([name, { level, says, fields }]) =>
      `| \`${name}\` | ${level} | ${says} | ${fields.map((field) => `\`${field}\``).join(' ')} |`,
  );
  return `# Logs

JSON lines on stdout; on a terminal, or with \`LOG_FORMAT=pretty\`, for people. \`event\` is what to search
and to alert on: names and fields are kept, texts may change. Every line has \`time\` (ISO 8601),
\`level\` (a word), \`service\`, \`version\`, \`replica\`, \`event\` and \`msg\`; an error stands in \`err\` as
\`{ type, message, code, stack }\`. Payloads, results and secrets are never written. A JSON schema is in
[logs.schema.json](logs.schema.json).

One line for each outcome of a job; about an outage one line at its start, one when its cause is another
(\`outage.cause\`), one after 30 s and then one a minute, one at its end: 8 a minute at the most. \`condition\`,
\`cause\`, \`remedy\` and \`docs\` are those of [conditions.md](conditions.md); \`outage.closed\` has the condition that
lasted longest.

| event | level | when | fields |
|---|---|---|---|
${rows.join('\n')}
`;
}

/** JSON Schema (2020-12) of a line. */
export function logsSchema(): object {
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'A log line of Holdfast',
    type: 'object',
    required: ['level', 'time', 'service', 'version', 'replica', 'event', 'msg'],
    properties: {
      level: { enum: ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] },
      time: { type: 'string', format: 'date-time' },
      service: { const: 'holdfast' },
      event: { enum: Object.keys(events) },
      msg: { type: 'string' },
    },
    oneOf: Object.entries(events).map(([name, { level, fields }]) => ({
      type: 'object',
      required: ['event'],
      properties: {
        ...Object.fromEntries([...COMMON_FIELDS, ...fields].map((field) => [field, true])),
        event: { const: name },
        level: { const: level },
      },
      additionalProperties: false,
    })),
  };
}

if (import.meta.main) {
  writeFileSync('docs/logs.md', logsPage());
  writeFileSync('docs/logs.schema.json', `${JSON.stringify(logsSchema(), null, 2)}\n`);
}
