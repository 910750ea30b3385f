/** The table of log events against the code and its page. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import pino from 'pino';
import { describe, expect, it } from 'vitest';
import { logsPage, logsSchema } from '../../src/logs-page.ts';
import { events } from '../../src/telemetry/events.ts';
import { createLogger, redactText } from '../../src/telemetry/log.ts';

function eventsIn(folder: string): Set<string> {
  const found = new Set<string>();
  for (const file of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.ts') || file.endsWith('telemetry/events.ts')) continue;
    const source = readFileSync(join(folder, file), 'utf8');
    for (const [, name] of source.matchAll(
      /(?:event: |moved\(run, |\? |: )'((?:[a-z_]+)\.(?:[a-z_]+))'/g,
    )) {
      if (name && name.split('.')[0]! in prefixes) found.add(name);
    }
  }
  return found;
}
const prefixes = Object.fromEntries(Object.keys(events).map((name) => [name.split('.')[0], true]));

describe('the log', () => {
  it('names no event that the table does not have, and has none that nobody writes', () => {
    const written = new Set([...eventsIn('src'), ...eventsIn('workers')]);
    expect([...written].sort()).toEqual(Object.keys(events).sort());
  });

  it('is documented as it is', () => {
    expect(readFileSync('docs/logs.md', 'utf8')).toBe(logsPage());
    expect(JSON.parse(readFileSync('docs/logs.schema.json', 'utf8'))).toEqual(logsSchema());
  });

  it('hides passwords in every URL, and what an error carries of its command', () => {
    const lines: string[] = [];
    const log = createLogger(
      { log: { level: 'info', format: 'json' }, replica: 'r', version: '0' },
      { write: (line) => lines.push(line) },
    );
    const error = Object.assign(new Error('connect redis://u:hunter2@h:1 failed'), {
      command: { name: 'auth', args: ['hunter2'] },
    });
    log.error({ event: 'x', err: error, password: 'hunter2' }, 'no rediss://:hunter2@h/0 today');
    log.child({ at: 'redis://u:hunter2@h' }).warn({
      event: 'x',
      deep: { evidence: ['redis://u:pa@hunter2@h and "redis://u:\\"hunter2\n"@h"'] },
      error: 'redis://:hunt"hunter2@h',
    });
    expect(lines.join()).not.toContain('hunter2');
    for (const line of lines) expect(JSON.parse(line)).toMatchObject({ event: 'x' });
    expect(redactText('a redis://u:p@h b')).toBe('a redis://u:***@h b');
    expect(pino.levels.labels[50]).toBe('error');
  });
});
