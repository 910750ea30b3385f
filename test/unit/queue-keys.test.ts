/** Which ids no job may have, held against the installed BullMQ and against our own keys. */
import { globSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { QueueKeys } from 'bullmq';
import { describe, expect, it } from 'vitest';
import { isKeyOfQueue } from '../../src/queue/queue-keys.ts';

const BULLMQ = join(dirname(createRequire(import.meta.url).resolve('bullmq')), '..');
const SRC = join(import.meta.dirname, '../../src');

/** What `pattern` finds after the prefix of a queue, up to the next colon. */
function wordsIn(files: string[], pattern: RegExp): string[] {
  const words = files.flatMap((file) =>
    [...readFileSync(file, 'utf8').matchAll(pattern)].map(([, word]) => word!.split(':')[0]!),
  );
  expect(words.length).toBeGreaterThan(0);
  return [...new Set(words)];
}

const taken = (words: string[]) => words.filter((word) => !isKeyOfQueue(word));

describe('an id that names a key of its queue is known', () => {
  it('by BullMQ’s own list', () => {
    const words = Object.keys(new QueueKeys().getKeys('q')).filter((word) => word !== '');
    expect(words).toContain('wait');
    expect(taken(words)).toEqual([]);
  });

  it('by what BullMQ’s scripts make of a queue’s prefix', () => {
    const scripts = globSync(join(BULLMQ, 'cjs/scripts/*.js')).filter(
      // The relay has a prefix of its own.
      (file) => !file.includes('/relay'),
    );
    // `prefix .. "wait"`, `baseKey .. 'pc'`, `parentQueueKey .. ":meta"`; `jobKey .. ":lock"` is a job's.
    const joined = /(?:[pP]refix|baseKey|[qQ]ueueKey) *\.\. *["']:?([a-z][a-z:-]*)["']/g;
    const words = wordsIn(scripts, joined);
    expect(words).toEqual(expect.arrayContaining(['de', 'metrics', 'waiting-children']));
    expect(taken(words)).toEqual([]);
  });

  it('by what BullMQ’s classes ask for', () => {
    const classes = globSync(join(BULLMQ, 'cjs/classes/*.js'));
    const words = wordsIn(classes, /toKey\([`'"]([a-z][a-z:-]*)/g);
    expect(words).toEqual(expect.arrayContaining(['metrics', 'priority']));
    expect(taken(words)).toEqual([]);
  });

  it('by what Holdfast keeps', () => {
    const files = globSync(join(SRC, '**/*.ts'));
    expect(taken(wordsIn(files, /toKey\(['"`]([a-z][a-z:-]*)/g))).toEqual([]);
    // Below a queue, and below the prefix: a queue may have our name.
    expect(taken(wordsIn(files, /\$\{[^}]*queue\}:([a-z][a-z:-]*)/g))).toEqual([]);
    const fleet = wordsIn(files, /prefix\}:holdfast:([a-z]+)`/g);
    expect(fleet).toContain('replicas');
    expect(taken(fleet)).toEqual([]);
  });
});

it.each(['de:some:id', 'metrics:completed:data', 'holdfast:epoch:x'])(
  'an id of three parts that begins as such keys do is one: %s',
  (id) => expect(isKeyOfQueue(id)).toBe(true),
);

it.each(['order-7', 'Wait', 'waiting', 'a:wait:b', 'lock', 'repeat:mail:1700000000000', ''])(
  'any other id is free: %s',
  (id) => expect(isKeyOfQueue(id)).toBe(false),
);
