/** The table of log events against the code and its page. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import pino from 'pino';
import { describe, expect, it } from 'vitest';
import { logsPage, logsSchema } from '../../src/logs-page.ts';
import { COMMON_FIELDS, events } from '../../src/telemetry/events.ts';
import { createLogger, redactText } from '../../src/telemetry/log.ts';

function eventsIn(folder: string): Set<string> {
  const found = new Set<string>();
  for (const file of sourcesIn(folder)) {
    if (file.endsWith('telemetry/events.ts')) continue;
    const source = readFileSync(file, 'utf8');
    for (const [, name] of source.matchAll(
      /(?:event: |moved\(run, |\? |: )'((?:[a-z_]+)\.(?:[a-z_]+))'/g,
    )) {
      if (name && name.split('.')[0]! in prefixes) found.add(name);
    }
  }
  return found;
}
interface WrittenLine {
  event: string;
  /** Undefined where a variable decides. */
  level: string | undefined;
  fields: string[];
}

/** Each place that writes a line as an object literal, with the fields that it names itself. */
function* linesIn(folder: string): Generator<WrittenLine> {
  for (const file of sourcesIn(folder)) {
    const source = readFileSync(file, 'utf8');
    for (const { 1: event = '', index } of source.matchAll(/\{\s*event: '([a-z_]+\.[a-z_]+)'/g)) {
      const called = /\.(debug|info|warn|error|fatal)\(\s*$/.exec(source.slice(0, index));
      const told = /level: '([a-z]+)',\s*fields: $/.exec(source.slice(0, index));
      yield { event, level: (called ?? told)?.[1], fields: fieldsAt(source, index) };
    }
  }
}

function sourcesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith('.ts'))
    .map((file) => join(folder, file));
}

/** The names at the first level of the object literal that begins there. */
function fieldsAt(source: string, start: number): string[] {
  const names: string[] = [];
  let depth = 0;
  let isName = false;
  for (const [token] of source.slice(start).matchAll(/[{}()[\],:]|\.\.\.|\w+|'[^']*'|`[^`]*`/g)) {
    if (/^[})\]]$/.test(token)) depth--;
    if (depth === 0 && names.length > 0) break;
    if (depth === 1 && isName && /^\w+$/.test(token)) names.push(token);
    if (/^[{([]$/.test(token)) depth++;
    isName = depth === 1 && (token === ',' || token === '{');
  }
  return names;
}

const prefixes = Object.fromEntries(Object.keys(events).map((name) => [name.split('.')[0], true]));

describe('the log', () => {
  it('names no event that the table does not have, and has none that nobody writes', () => {
    const written = new Set([...eventsIn('src'), ...eventsIn('workers')]);
    expect([...written].sort()).toEqual(Object.keys(events).sort());
  });

  it('says by an event what every line is about', () => {
    const nameless: string[] = [];
    for (const file of sourcesIn('src')) {
      const source = readFileSync(file, 'utf8');
      for (const call of source.matchAll(/[lL]og\.(?:debug|info|warn|error|fatal)\(\s*(?=\{)/g)) {
        const start = call.index + call[0].length;
        if (!fieldsAt(source, start).includes('event')) {
          nameless.push(`${file}:${source.slice(0, start).split('\n').length}`);
        }
      }
    }
    expect(nameless).toEqual([]);
  });

  it('is written at the level and with the fields of the table', () => {
    const written = [...linesIn('src'), ...linesIn('workers')];
    expect(written.length).toBeGreaterThan(60);
    for (const { event, level, fields } of written) {
      const entry = events[event]!;
      if (level !== undefined) expect(level, event).toBe(entry.level);
      const known: readonly string[] = [...COMMON_FIELDS, ...entry.fields];
      expect(
        fields.filter((field) => !known.includes(field)),
        event,
      ).toEqual([]);
    }
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
