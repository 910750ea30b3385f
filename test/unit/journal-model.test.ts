/**
 * The store against a model: any order of writes, reopenings and crashes. A crash here is the image
 * of the files as the kernel has them at that moment: what a SIGKILL leaves.
 */
import { cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Database } from '../../src/journal/database.ts';
import { type Entry, type Position, pack, unpack } from '../../src/journal/entry.ts';
import { layout } from '../../src/journal/folder.ts';
import { openDatabase } from '../../src/journal/rescue.ts';
import { anyEntry } from '../support/journal-entries.ts';

interface Model {
  entries: Map<Position, { entry: Entry; refused: boolean }>;
}

interface Real {
  base: string;
  lives: number;
  database: Database;
}

type Command = fc.Command<Model, Real>;

function nth(model: Model, pick: number): Position | undefined {
  return [...model.entries.keys()][pick % Math.max(1, model.entries.size)];
}

function expectSame(model: Model, real: Real): void {
  const expected = [...model.entries].sort(([a], [b]) => a - b);
  for (const type of ['outcome', 'job'] as const) {
    const page = { type, queue: undefined, after: Number.MIN_SAFE_INTEGER, limit: 1000 };
    expect(real.database.rows.page(page).map((row) => unpack(row))).toEqual(
      expected
        .filter(([, { entry, refused }]) => entry.type === type && !refused)
        .map(([position, { entry }]) => ({ ...entry, position })),
    );
  }
  const { outcomes, jobs, refused, bytes } = real.database.counts;
  expect(outcomes + jobs + refused).toBe(model.entries.size);
  expect(bytes).toBe(expected.reduce((sum, [, { entry }]) => sum + rowBytes(entry), 0));
  expect(real.database.rows.refused(1000).map(({ position }) => position)).toEqual(
    expected.filter(([, { refused }]) => refused).map(([position]) => position),
  );
}

function rowBytes(entry: Entry): number {
  return pack(entry).bytes;
}

function command(text: string, act: (model: Model, real: Real) => void): Command {
  return {
    check: () => true,
    run: (model, real) => {
      act(model, real);
      expectSame(model, real);
    },
    toString: () => text,
  };
}

function folderOfLife(real: Pick<Real, 'base' | 'lives'>) {
  return layout(join(real.base, String(real.lives)));
}

const commands: fc.Arbitrary<Command>[] = [
  fc.array(anyEntry, { minLength: 1, maxLength: 8 }).map((entries) =>
    command(`append ${entries.length}`, (model, { database }) => {
      const first = database.append(entries.map(pack));
      for (const [index, entry] of entries.entries()) {
        model.entries.set(first + index, { entry, refused: false });
      }
    }),
  ),
  fc.array(fc.nat(), { maxLength: 5 }).map((picks) =>
    command(`settle ${picks}`, (model, { database }) => {
      const positions = picks.map((pick) => nth(model, pick)).filter((p) => p !== undefined);
      database.remove([...new Set(positions)]);
      for (const position of positions) model.entries.delete(position);
    }),
  ),
  fc.nat().map((pick) =>
    command(`refuse ${pick}`, (model, { database }) => {
      const position = nth(model, pick);
      if (position === undefined) return;
      database.refuse(position, 'missing parent', 5);
      const kept = model.entries.get(position);
      if (kept !== undefined) kept.refused = true;
    }),
  ),
  fc.tuple(fc.nat(), fc.constantFrom('sent' as const, 'running' as const)).map(([pick, mark]) =>
    command(`mark ${pick} ${mark}`, (model, { database }) => {
      const position = nth(model, pick);
      const kept = position === undefined ? undefined : model.entries.get(position);
      if (position === undefined || kept?.entry.type !== 'job') return;
      database.mark([position], mark);
      kept.entry = { ...kept.entry, mark };
    }),
  ),
  fc.constant(
    command('reopen', (_model, real) => {
      real.database.close();
      const opened = openDatabase(folderOfLife(real), 1);
      expect(opened.damage).toBeUndefined();
      real.database = opened.database;
    }),
  ),
  fc.constant(
    command('crash', (_model, real) => {
      const dead = folderOfLife(real);
      real.lives++;
      cpSync(dead.path, folderOfLife(real).path, { recursive: true });
      real.database.close();
      const opened = openDatabase(folderOfLife(real), 1);
      expect(opened.damage).toBeUndefined();
      real.database = opened.database;
    }),
  ),
];

describe('the journal against its model', () => {
  it('holds exactly what was written and not settled, through reopening and crashes', {
    timeout: 60_000,
  }, () => {
    fc.assert(
      fc.property(fc.commands(commands, { maxCommands: 30 }), (sequence) => {
        const base = mkdtempSync(join(tmpdir(), 'holdfast-model-'));
        const first = layout(join(base, '0'));
        mkdirSync(first.path);
        const real: Real = { base, lives: 0, database: openDatabase(first, 1).database };
        try {
          fc.modelRun(() => ({ model: { entries: new Map() }, real }), sequence);
        } finally {
          real.database.close();
          rmSync(base, { recursive: true });
        }
      }),
      { numRuns: 60 },
    );
  });
});
