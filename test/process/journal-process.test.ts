/** The journal among processes: killed ones, two on one folder, orphans and who adopts them. */
import { chmodSync, existsSync, mkdirSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it, onTestFinished } from 'vitest';
import { startChild } from '../support/journal-child-process.ts';
import { outcomeNumber } from '../support/journal-entries.ts';
import { allOutcomes, journalFolder, openIn } from '../support/journal-folder.ts';

describe('a journal whose process is killed', () => {
  it('has every entry that was acknowledged, 10 times over', { timeout: 120_000 }, async () => {
    const killAt = async (turn: number) => {
      const dir = await journalFolder();
      const child = startChild(dir, 'one', 1_000);
      await child.says(new RegExp(`^job-${turn}$`));
      await child.kill();
      const acknowledged = child.lines.filter((line) => line.startsWith('job-'));
      const journal = await openIn(dir);
      const kept = (await allOutcomes(journal)).map(({ jobId }) => jobId);
      expect(kept.slice(0, acknowledged.length)).toEqual(acknowledged);
      // At most the one that was under way is there without an acknowledgement.
      expect(kept.length - acknowledged.length).toBeLessThanOrEqual(1);
      await journal.close();
    };
    // Right after an acknowledgement, at another one each time.
    for (let turn = 0; turn < 10; turn += 5) {
      await Promise.all([0, 1, 2, 3, 4].map((more) => killAt(turn + more)));
    }
  });

  it('belongs to its next life at once: the lock died with the process', async () => {
    const dir = await journalFolder();
    const child = startChild(dir, 'one', 3);
    await child.says(/^done$/);
    await child.kill();
    const journal = await openIn(dir, { ownWaitMs: 0 });
    expect(await allOutcomes(journal)).toMatchObject([
      outcomeNumber(0),
      outcomeNumber(1),
      outcomeNumber(2),
    ]);
  });
});

describe('two processes on one folder', () => {
  it('are told apart: the second is refused by an error that names the folder', async () => {
    const dir = await journalFolder();
    const journal = await openIn(dir);
    const child = startChild(dir, 'one', 1);
    const line = await child.says(/^(refused|open|failed)/);
    expect(line).toMatch(/^refused/);
    expect(line).toContain(join(dir, 'one'));
    expect(line).toContain('replica');
    await journal.append(outcomeNumber(1));
    expect(await allOutcomes(journal)).toHaveLength(1);
  });

  it('are told apart the other way round, and within one process', async () => {
    const dir = await journalFolder();
    const child = startChild(dir, 'one', 1);
    await child.says(/^done$/);
    await expect(openIn(dir)).rejects.toThrow('in use by another living process');
    await child.kill();
    await openIn(dir);
    await expect(openIn(dir)).rejects.toMatchObject({ code: 'HOLDFAST_JOURNAL_UNUSABLE' });
  });

  it('are told apart from one of a release that locked with a file of its own', async () => {
    const dir = await journalFolder();
    const child = startChild(dir, 'one', 1);
    await child.says(/^done$/);
    const earlier = new DatabaseSync(join(dir, 'one', 'lock.db'));
    expect(() => earlier.exec('BEGIN EXCLUSIVE')).toThrow('locked');
    await child.kill();
    earlier.exec('BEGIN EXCLUSIVE');
    expect(await startChild(dir, 'one', 1).says(/^(refused|open)/)).toMatch(/^refused/);
    earlier.close();
    await startChild(dir, 'one', 1).says(/^open$/);
  });

  it('take turns when the first ends while the second waits', async () => {
    const dir = await journalFolder();
    const child = startChild(dir, 'one', 1);
    await child.says(/^done$/);
    const opening = openIn(dir, { ownWaitMs: 20_000 });
    await child.kill();
    expect(await allOutcomes(await opening)).toHaveLength(1);
  });
});

describe('an orphan', () => {
  it('is adopted after its process was killed, before our own entries, and its folder goes', async () => {
    const dir = await journalFolder();
    const child = startChild(dir, 'dead', 1_200);
    await child.says(/^done$/);
    const journal = await openIn(dir);
    await journal.append({ ...outcomeNumber(1), jobId: 'ours' });
    expect(await journal.adoptOrphans()).toEqual([]);
    await child.kill();
    expect(await journal.adoptOrphans()).toEqual([
      { replica: 'dead', entries: 1_200, damage: undefined },
    ]);
    const ids = (await allOutcomes(journal)).map(({ jobId }) => jobId);
    expect(ids).toEqual([...Array.from({ length: 1_200 }, (_, i) => `job-${i}`), 'ours']);
    expect(existsSync(join(dir, 'dead'))).toBe(false);
    expect(await journal.adoptOrphans()).toEqual([]);
  });

  it('is adopted by exactly one of two that try at once', async () => {
    const dir = await journalFolder();
    const dead = ['dead-1', 'dead-2', 'dead-3'];
    for (const replica of dead) {
      const child = startChild(dir, replica, 20);
      await child.says(/^done$/);
      await child.kill();
    }
    const [a, b] = await Promise.all([
      openIn(dir, { replica: 'a' }),
      openIn(dir, { replica: 'b' }),
    ]);
    const adopted = (await Promise.all([a.adoptOrphans(), b.adoptOrphans()])).flat();
    expect(adopted.map(({ replica }) => replica).sort()).toEqual(dead);
    expect(a.stats().entries + b.stats().entries).toBe(60);
    expect(readdirSync(dir).sort()).toEqual(['a', 'b', 'gate.db']);
  });

  it('that starts again while it is being adopted waits for the end of that, says so once, and begins anew', async () => {
    const dir = await journalFolder();
    const first = await openIn(dir, { replica: 'back' });
    await first.appendAll(Array.from({ length: 20_000 }, (_, number) => outcomeNumber(number)));
    await first.close();
    const adopter = startChild(dir, 'adopter', 'adopt');
    await adopter.says(/^open$/);
    await expect.poll(() => existsSync(join(dir, 'back', 'adopting')), { interval: 1 }).toBe(true);
    adopter.process.kill('SIGSTOP');
    const again = startChild(dir, 'back', 1);
    await again.says(/^warns journal.waiting$/);
    adopter.process.kill('SIGCONT');
    expect(await adopter.says(/^adopted/)).toBe('adopted 20000 of back');
    await again.says(/^done$/);
    expect(again.lines).toEqual(['warns journal.waiting', 'open', 'job-0', 'done']);
    expect(readdirSync(join(dir, 'back'))).not.toContain('adopting');
  });

  it('that came empty is cleared away in silence', async () => {
    const dir = await journalFolder();
    await (await openIn(dir, { replica: 'gone' })).close();
    const journal = await openIn(dir);
    expect(await journal.adoptOrphans()).toEqual([]);
    expect(readdirSync(dir).sort()).toEqual(['gate.db', 'one']);
  });

  it('that cannot be read is told of once, however often it is met', async () => {
    const dir = await journalFolder();
    const later = await openIn(dir, { replica: 'later' });
    await later.append(outcomeNumber(5));
    await later.close();
    const database = new DatabaseSync(join(dir, 'later', 'journal.db'));
    database.exec("PRAGMA user_version = 2; UPDATE meta SET value = '2' WHERE key = 'format'");
    database.close();
    const told: object[] = [];
    const log = { warn: () => undefined, error: (fields: object) => told.push(fields) };
    const journal = await openIn(dir, { log });
    for (let looks = 0; looks < 3; looks += 1) await journal.adoptOrphans();
    expect(told).toMatchObject([{ event: 'journal.orphan_left', from: 'later' }]);
  });

  it('that starts again while it is not adopted replays its own', async () => {
    const dir = await journalFolder();
    const first = await openIn(dir, { replica: 'back' });
    await first.append(outcomeNumber(5));
    expect(await first.close()).toEqual({ left: 1 });
    const again = await openIn(dir, { replica: 'back' });
    const journal = await openIn(dir);
    expect(await journal.adoptOrphans()).toEqual([]);
    expect(await allOutcomes(again)).toMatchObject([outcomeNumber(5)]);
  });
});

describe('the files of a journal', () => {
  it('can be read by their owner only', async () => {
    const dir = join(await journalFolder(), 'base');
    const before = process.umask(0);
    onTestFinished(() => {
      process.umask(before);
    });
    const journal = await openIn(dir);
    await journal.append(outcomeNumber(1));
    const modeOf = (path: string) => statSync(path).mode & 0o777;
    expect(modeOf(dir)).toBe(0o700);
    expect(modeOf(join(dir, 'one'))).toBe(0o700);
    const names = readdirSync(join(dir, 'one'));
    expect(names).toContain('journal.db-wal');
    for (const name of names) expect([name, modeOf(join(dir, 'one', name))]).toEqual([name, 0o600]);
  });

  it('leave a base folder that was there its mode: it may be shared', async () => {
    const dir = join(await journalFolder(), 'shared');
    mkdirSync(dir);
    chmodSync(dir, 0o1777);
    await openIn(dir);
    expect(statSync(dir).mode & 0o7777).toBe(0o1777);
    expect(statSync(join(dir, 'one')).mode & 0o777).toBe(0o700);
  });

  it.runIf(process.getuid?.() === 0)(
    'cannot be shared by two users, and the second is told so',
    async () => {
      // The tests' own place is closed to others.
      const dir = await journalFolder('/tmp');
      chmodSync(dir, 0o1777);
      await openIn(dir);
      const child = startChild(dir, 'two', 1, { uid: 65_534 });
      const line = await child.says(/^(refused|open|failed)/);
      expect(line).toMatch(/^refused/);
      expect(line).toContain(`in use by another user: ${join(dir, 'gate.db')}`);
      expect(line).toContain('createClient');
    },
  );
});
