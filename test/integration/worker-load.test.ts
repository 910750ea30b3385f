/** Loading handlers as the service does: by Node itself, from real files, in a process of its own. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

let dir: string;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'holdfast-workers-'));
});
afterEach(async () => {
  await rm(dir, { recursive: true, force: true });
});

const load = new URL('../../src/worker/load.ts', import.meta.url).href;
const loadHooks = new URL('../../src/worker/hooks.ts', import.meta.url).href;

interface Told {
  queues?: string[];
  name?: string;
  code?: string;
  /** One for each mistake. */
  messages?: string[];
}

/** Loads the folder in another process: a test runner imports files in a way of its own. */
async function loaded(
  files: Record<string, string>,
  what = 'workers',
  options: object = {},
): Promise<Told> {
  for (const [name, text] of Object.entries(files)) await writeFile(join(dir, name), text);
  const script = `
    const tell = (value) => process.stdout.write(JSON.stringify(value));
    try {
      const found = ${
        what === 'hooks'
          ? `[await (await import(${JSON.stringify(loadHooks)})).loadHooks(process.argv[1], ${JSON.stringify(options)})]`
          : `await (await import(${JSON.stringify(load)})).loadWorkers(process.argv[1], ${JSON.stringify(options)})`
      };
      tell({ queues: found.map((f) => f.definition?.queue ?? Object.keys(f).join()) });
    } catch (error) {
      tell({ name: error.name, code: error.code, messages: (error.errors ?? [error]).map((e) => e.message) });
    }`;
  const { stdout } = await promisify(execFile)(process.execPath, [
    ...['--input-type=module', '--no-warnings', '-e', script],
    dir,
  ]);
  return JSON.parse(stdout);
}

const good = (queue: string) => `export default { queue: '${queue}', handler: () => 1 };\n`;

describe('loading the workers folder', () => {
  it('takes every handler, and leaves tests, hidden files and type declarations', async () => {
    const told = await loaded({
      'a.ts': `interface Data { n: number }\n${good('a')}`,
      'b.js': good('b'),
      'c.mjs': good('c'),
      'a.test.ts': 'throw new Error("a test")',
      '.hidden.ts': 'throw new Error("hidden")',
      'types.d.ts': 'export type A = 1;',
      'notes.md': 'text',
    });
    expect(told).toEqual({ queues: ['a', 'b', 'c'] });
  });

  it('names all bad files at once, each with its line and what to do', async () => {
    const told = await loaded({
      'a-syntax.js': "export default {\n  queue: 'a',\n  handler( { return 1 }\n};\n",
      'b-syntax.ts': "export default {\n  queue: 'b',\n  handler(a: number { }\n};\n",
      'c-enum.ts': 'enum Kind { A }\nexport default {};\n',
      'd-throws.ts': "\nconst a: number = 1;\nthrow new Error('no ' + a);\n",
      'e-package.ts': "import x from 'no-such-package-here';\nexport default x;\n",
      'f-empty.ts': 'export const x = 1;\n',
      'g-options.ts': [
        'export default {',
        "  queue: 'g:h',",
        '  concurency: 3,',
        '  timeout: -1,',
        '  handler: () => 1,',
        '};',
      ].join('\n'),
      'h-good.ts': good('twice'),
      'i-twice.ts': `// second\n${good('twice')}`,
    });
    expect(told).toMatchObject({ name: 'HandlerFilesError', code: 'HOLDFAST_HANDLER_INVALID' });
    const at = (file: string) => `${join(dir, file)}`;
    expect(told.messages).toEqual([
      expect.stringContaining(`${at('a-syntax.js')}:3: cannot be loaded: SyntaxError`),
      expect.stringContaining(`${at('b-syntax.ts')}:3: cannot be loaded: SyntaxError`),
      expect.stringContaining(`${at('c-enum.ts')}:1: cannot be loaded`),
      expect.stringContaining(`${at('d-throws.ts')}:3: cannot be loaded: Error: no 1`),
      expect.stringContaining('npm install no-such-package-here'),
      expect.stringContaining(`${at('f-empty.ts')}: has no default export.`),
      expect.stringContaining(`${at('g-options.ts')}:2: "queue" contains ":"`),
      expect.stringContaining(
        `${at('g-options.ts')}:4: "timeout" must be a whole number of milliseconds from 1, but is -1.`,
      ),
      expect.stringMatching(
        /g-options\.ts:3: "concurency" is not an option\. Did you mean "concurrency"\?/,
      ),
      expect.stringContaining(
        `${at('i-twice.ts')}:2: handles queue "twice", which ${at('h-good.ts')}`,
      ),
    ]);
  });

  it('names a file that waits for ever at its top level', async () => {
    const forever = 'await new Promise(() => {});\n';
    const told = await loaded({ 'a.ts': forever, 'b.ts': good('b') }, 'workers', { withinMs: 50 });
    expect(told.messages).toEqual([
      expect.stringMatching(/a\.ts: did not finish loading within 0\.05 s.*setup\(\)/),
    ]);
    const hooks = await loaded({ 'hooks.ts': forever }, 'hooks', { withinMs: 50 });
    expect(hooks.messages?.[0]).toMatch(/hooks\.ts: did not finish loading/);
  });

  it('says what to do where npm made the folder a CommonJS one', async () => {
    const told = await loaded({ 'package.json': '{ "type": "commonjs" }', 'a.ts': good('a') });
    expect(told.messages?.[0]).toContain('write "type": "module" in the package.json above it');
  });

  it('names the file itself when only one is bad', async () => {
    const told = await loaded({ 'a.ts': 'export default 7;\n' });
    expect(told.name).toBe('HandlerFileError');
    expect(told.messages?.[0]).toContain('the default export is a number, not a worker');
  });

  it('says that the folder is not there', async () => {
    await rm(dir, { recursive: true });
    const told = await loaded({});
    expect(told.messages?.[0]).toMatch(/the workers folder cannot be read \(ENOENT\).*WORKERS_DIR/);
  });
});

describe('loading hooks', () => {
  it('takes what is there, and nothing when there is no file', async () => {
    expect(await loaded({}, 'hooks')).toEqual({ queues: [''] });
    const told = await loaded({ 'hooks.ts': 'export const onOutage = (): void => {};\n' }, 'hooks');
    expect(told).toEqual({ queues: ['onOutage'] });
  });

  it('refuses a hook that does not exist', async () => {
    const told = await loaded({ 'hooks.ts': 'export const onFail = () => {};\n' }, 'hooks');
    expect(told.messages?.[0]).toContain('"onFail" is not a hook');
  });
});
