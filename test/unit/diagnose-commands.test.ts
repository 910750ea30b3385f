/** The doctor asks for the rights that are needed, and the list is held against what is really sent. */
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import { expect, it } from 'vitest';
import { neededCommands } from '../../src/diagnose/needed-commands.ts';

const SENT = /\b(?:rcall|redis\.p?call)\(\s*["']([A-Za-z]+)["']/g;

/** By a client of ours, outside of scripts. */
const SENT_PLAINLY = /\bclient\s*\.([a-z]+)\(/g;

function commandsIn(folder: string, sent = SENT): string[] {
  return readdirSync(folder)
    .filter((file) => /\.(js|ts)$/.test(file) && !file.endsWith('.d.ts'))
    .flatMap((file) => [...readFileSync(join(folder, file), 'utf8').matchAll(sent)])
    .map(([, name]) => name!.toUpperCase());
}

const named = new Set(neededCommands('a', 'b').map(({ name }) => name));

it('names every command of the scripts of BullMQ and of ours', () => {
  const bullmq = dirname(createRequire(import.meta.url).resolve('bullmq/package.json'));
  const scripts = commandsIn(join(bullmq, 'dist/esm/scripts'));
  const own = commandsIn(fileURLToPath(new URL('../../src/queue/lua', import.meta.url)));
  expect(scripts.length).toBeGreaterThan(100);
  expect(own.length).toBeGreaterThan(10);
  expect([...new Set([...scripts, ...own])].filter((name) => !named.has(name))).toEqual([]);
});

it('names every command that is sent besides scripts', () => {
  const queue = fileURLToPath(new URL('../../src/queue', import.meta.url));
  const known = new Set(new Redis({ lazyConnect: true }).getBuiltinCommands());
  const sent = commandsIn(queue, SENT_PLAINLY).filter((name) => known.has(name.toLowerCase()));
  expect(sent.length).toBeGreaterThan(10);
  expect([...new Set(sent)].filter((name) => !named.has(name))).toEqual([]);
});
