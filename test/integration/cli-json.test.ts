/** What commands send and print for programs: the token that may do most, and errors as JSON. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Config } from '../../src/config.ts';
import { runCommand } from '../support/command.ts';
import { testConfig } from '../support/config.ts';
import { type HttpService, startHttpService } from '../support/http-service.ts';
import { freePort, startRedis } from '../support/redis-server.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const TOKENS = {
  token: 'token-of-an-operator',
  writeToken: 'token-of-a-producer',
  readToken: 'token-of-a-reader',
};
const { http } = testConfig();
const NONE = { token: undefined, writeToken: undefined, readToken: undefined };
let service: HttpService;

beforeAll(async () => {
  const redis = await startRedis();
  service = await startHttpService(redis.url, { config: { http: { ...http, ...TOKENS } } });
});
afterAll(() => service[Symbol.asyncDispose]());

const withTokens = (tokens: Partial<Config['http']>): Partial<Config> => ({
  dataDir: temporaryFolder(),
  http: { ...http, ...NONE, ...tokens },
});

describe('a command', () => {
  it('adds a job with the token of a producer alone, and looks with that of a reader', async () => {
    const { writeToken, readToken } = TOKENS;
    const add = ['enqueue', 'faq', '{"question":"why?"}', '--url', service.url];
    const added = await runCommand(add, withTokens({ writeToken, readToken }));
    expect(added, added.stderr).toMatchObject({ code: 0 });
    const look = ['status', '--json', '--url', service.url];
    const status = await runCommand(look, withTokens({ readToken }));
    expect(JSON.parse(status.stdout).queues).toContainEqual(
      expect.objectContaining({ queue: 'faq' }),
    );
  });

  it('with --json tells an error as JSON: one document, with what to do', async () => {
    const url = `http://127.0.0.1:${await freePort()}`;
    const away: [string[], number, string][] = [
      [['enqueue', 'faq', '{}', '--url', url], 69, 'HOLDFAST_NOTHING_REACHABLE'],
      [['isolate', '--url', url], 69, 'HOLDFAST_NOTHING_REACHABLE'],
      [['status', '--url', url], 69, 'HOLDFAST_NOTHING_REACHABLE'],
      [['outages', 'show', 'nonsense'], 2, 'HOLDFAST_OUTAGE_NOT_FOUND'],
      [['journal', 'list', '--replica', 'nobody'], 2, 'HOLDFAST_INPUT_INVALID'],
    ];
    const config = withTokens({});
    const all = await Promise.all(away.map(([args]) => runCommand([...args, '--json'], config)));
    for (const [i, [args, code, name]] of away.entries()) {
      const said = all[i]!;
      expect(said, args.join(' ')).toMatchObject({ code });
      expect(JSON.parse(said.stdout).error, args.join(' ')).toEqual({
        code: name,
        message: expect.stringMatching(/\w/),
        remedy: expect.any(String),
      });
    }
  });

  it('that replays journals tells in JSON what became of them', async () => {
    const said = await runCommand(['journal', 'replay', '--json'], withTokens({}));
    expect(said.code, said.stderr).toBe(0);
    expect(JSON.parse(said.stdout)).toEqual({
      ...{ written: 0, left: 0, refused: 0 },
      ...{ living: [], unknown: [], damaged: [], failed: [] },
    });
  });
});
