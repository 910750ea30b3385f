/** The doctor asks for the rights that are needed, and the list is held against what is really sent. */
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { neededCommands } from '../../src/diagnose/needed-commands.ts';

const SENT = /\b(?:rcall|redis\.p?call)\(\s*["']([A-Za-z]+)["']/g;

function commandsIn(folder: string): string[] {
  return readdirSync(folder)
    .filter((file) => /\.(js|ts)$/.test(file) && !file.endsWith('.d.ts'))
    .flatMap((file) => [...readFileSync(join(folder, file), 'utf8').matchAll(SENT)])
    .map(([, name]) => name!.toUpperCase());
}

it('names every command of the scripts of BullMQ and of ours', () => {
  const bullmq = dirname(createRequire(import.meta.url).resolve('bullmq/package.json'));
  const scripts = commandsIn(join(bullmq, 'dist/esm/scripts'));
  const own = commandsIn(fileURLToPath(new URL('../../src/queue/lua', import.meta.url)));
  expect(scripts.length).toBeGreaterThan(100);
  expect(own.length).toBeGreaterThan(10);
  const named = new Set(neededCommands('a', 'b').map(({ name }) => name));
  expect([...new Set([...scripts, ...own])].filter((name) => !named.has(name))).toEqual([]);
});
