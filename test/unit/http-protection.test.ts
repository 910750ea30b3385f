/** Which tokens a service must have where others reach it. */
import { describe, expect, it } from 'vitest';
import { assertProtected } from '../../src/http/protection.ts';
import { testConfig } from '../support/config.ts';

const LONG = 'sixteen-or-more!';
const check = (changes: Partial<ReturnType<typeof testConfig>['http']>) => () =>
  assertProtected({ ...testConfig().http, ...changes });

describe.each([
  ['bound elsewhere', { host: '0.0.0.0' }],
  ['behind a proxy', { publicUrl: 'https://jobs.example' }],
])('a service %s', (_, where) => {
  it('needs a token that nobody guesses, and names every one that is too short', () => {
    expect(check(where)).toThrow(/HTTP_TOKEN: not set.*can be reached/);
    expect(check({ ...where, token: LONG })).not.toThrow();
    expect(check({ ...where, token: LONG.slice(1) })).toThrow(
      /HTTP_TOKEN: 15 characters.*at least 16.*openssl rand/,
    );
    const short = check({ ...where, token: LONG, writeToken: 'hunter2', readToken: 'x' });
    expect(short).toThrow(/HTTP_WRITE_TOKEN: 7 characters[\s\S]*HTTP_READ_TOKEN: 1 characters/);
    expect(short).toThrow(
      expect.objectContaining({ message: expect.not.stringContaining('hunter2') }),
    );
  });

  it('does not take one that everybody can read', () => {
    expect(check({ ...where, token: 'for-development-only' })).toThrow(/everybody knows/);
  });
});

it('a service on loopback may do without, and with a short one', () => {
  expect(check({})).not.toThrow();
  expect(check({ token: 'short' })).not.toThrow();
});
