/**
 * What a person who is woken reads in a terminal: what is wrong, what is kept, what it was. One Redis
 * that goes and comes back; each command before, during and after.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RedisServer, startRedis } from '../support/redis-server.ts';
import { type Desk, openDesk } from './desk.ts';
import type { Terminal } from './support.ts';

const GREEN = '\u001b[32m';
const RED = '\u001b[31m';

let redis: RedisServer;
let desk: Desk;
let service: Terminal;
let shell: Terminal;

beforeAll(async () => {
  redis = await startRedis({ aof: true });
  desk = await openDesk(
    redis,
    "export default { queue: 'mail', handler: (job) => ({ sent: job.data.to }) };",
  );
  ({ service, shell } = desk);
});
afterAll(() => desk[Symbol.dispose]());

/** The screen of a command that must end with this code; errors of ours never show a stack. */
async function screenOf(line: string, code = 0): Promise<string> {
  const shown = await shell.run(line);
  expect(shown.code, shown.screen).toBe(code);
  expect(shown.screen).not.toMatch(/^ +at .*\.ts/m);
  return shown.screen;
}

/** The screen with its colours; tmux says of each that the background stays as it is. */
const styled = () => shell.screen(true).replaceAll('\u001b[49m', '');

describe('before', () => {
  it('doctor passes layer by layer, aligned and in colours', async () => {
    const screen = await screenOf('holdfast doctor', 1);
    for (const layer of ['Environment', 'TCP', 'Protocol', 'Login', 'Journal']) {
      expect(screen).toMatch(new RegExp(`^${layer.padEnd(13)}  ✓ pass  `, 'm'));
    }
    // A server that was started a moment ago is a finding, with what to look at.
    expect(screen).toMatch(/^ {15}! warn {2}Redis was started [^\n]+\n[^\n]+\n {23}→ If nobody/m);
    expect(screen).toMatch(/^\d+ passed · [1-3] warnings? · none failed · 2 skipped$/m);
    expect(styled()).toContain(`${GREEN}✓ pass`);
    expect(screen).not.toMatch(/.{121}/);
  });

  it('doctor is one JSON document where a machine reads it', async () => {
    const screen = await screenOf('holdfast doctor --json | head -2');
    expect(screen).toMatch(/^\{\n {2}"/);
    await screenOf('NO_COLOR=1 holdfast doctor', 1);
    expect(styled()).not.toContain(GREEN);
  });

  it('there are no outages, and the journal is empty and sound', async () => {
    expect(await screenOf('holdfast outages')).toMatch(/^No outage is on record in /);
    expect(await screenOf('holdfast journal status')).toMatch(/^web-1 +living +0 +0 +0 +0 +–$/m);
    expect(await screenOf('holdfast journal list')).toMatch(/^No entries\.$/m);
    expect(await screenOf('holdfast journal verify')).toMatch(/^web-1: sound$/m);
  });
});

describe('during', () => {
  beforeAll(async () => {
    await redis.kill();
    await service.until(/Redis is away: nothing listens/);
    await screenOf(`holdfast enqueue mail '{"to":"a@b.c"}'`);
  });

  it('doctor names the first layer that fails, what to do, and leaves out what lies above', async () => {
    const screen = await screenOf('holdfast doctor', 2);
    expect(screen).toMatch(/^TCP {12}✗ FAIL {2}127\.0\.0\.1:\d+ refuses connections$/m);
    expect(screen).toMatch(/^ {23}→ Check that redis-server runs/m);
    expect(screen).toMatch(/– skip {2}Not looked at: TCP failed\n {23}also: Protocol, Login, /);
    expect(screen).toMatch(/✓ pass {2}Waiting for Redis, all with an owner: 1 entry /);
    expect(styled()).toContain(`${RED}✗ FAIL`);
  });

  it('outages shows the one that lasts, and for how long', async () => {
    const screen = await screenOf('holdfast outages');
    expect(screen).toMatch(/^[0-9a-f]{8} {2}\S+ \S+Z {2}\d+(\.\d)? (s|ms) so far +refused /m);
    expect(screen).not.toMatch(/ ms so far/);
    const shown = await screenOf(`holdfast outages show ${idOn(screen)}`);
    expect(shown).toMatch(/^outage \S+ {2}Redis is still away\.$/m);
    expect(shown).toMatch(/^what to do\n {2}Check that redis-server runs/m);
  });

  it('journal shows what waits, without its data, and leaves it to its owner', async () => {
    expect(await screenOf('holdfast journal status')).toMatch(/^web-1 +living +1 +0 +0 +\d+ /m);
    const list = await screenOf('holdfast journal list');
    expect(list).toMatch(/^web-1 +1 +job +mail +\S+ +\S+Z +unsent$/m);
    expect(list).not.toContain('a@b.c');
    expect(await screenOf('holdfast journal export')).toMatch(/a@b\.c[\s\S]*^1 entry\.$/m);
    const replay = await screenOf('holdfast journal replay');
    expect(replay).toMatch(/web-1 has a living owner/);
  });
});

describe('after', () => {
  beforeAll(async () => {
    await redis.start();
    await service.until(/Redis is back after/);
  });

  it('outages tells what it was, and makes a post-mortem', async () => {
    await expect
      .poll(() => screenOf('holdfast outages'), { timeout: 20_000 })
      .toMatch(/^[0-9a-f]{8} .*Z {2}\d+(\.\d)? s +refused .* web-1 +[0-9a-f]{8}$/m);
    const id = idOn(await screenOf('holdfast outages'));
    const shown = await screenOf(`holdfast outages show ${id}`);
    expect(shown).toMatch(/^outage \S+ {2}Redis came back\.$/m);
    expect(shown).toMatch(/^ {2}jobs +0 held, 1 accepted into the journal$/m);
    expect(shown).toMatch(/^timeline$[\s\S]*Redis is back \(restarted\); recovery is done$/m);
    const markdown = await screenOf(`holdfast outages show ${id} --markdown | head -40`);
    expect(markdown).toMatch(/^# Outage of Redis, \d{4}-/m);
    expect(markdown).toMatch(/^## Timeline$/m);
    const wrong = await screenOf('holdfast outages show nonsense', 2);
    expect(wrong).toMatch(/no record of an outage "nonsense"[\s\S]*`holdfast outages` lists/);
  });

  it('the journal is empty again once the rollback window is over', async () => {
    await expect
      .poll(() => screenOf('holdfast journal status'), { timeout: 40_000, interval: 1000 })
      .toMatch(/^web-1 +living +0 +0 +0 +0 +–$/m);
  });
});

function idOn(screen: string): string {
  return /^([0-9a-f]{8}) /m.exec(screen)![1]!;
}
