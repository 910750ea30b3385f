/** How wrong tokens of one address are counted. */
import { expect, it } from 'vitest';
import { WRONG_TOKENS_PER_MINUTE_MAX, WrongTokens } from '../../src/http/limits.ts';

function counted() {
  const clock = { now: 0 };
  const tokens = new WrongTokens(() => clock.now);
  const spend = (ip: string) => {
    for (let i = 0; i < WRONG_TOKENS_PER_MINUTE_MAX; i++) tokens.count(ip);
  };
  return { clock, tokens, spend };
}

it('an address has so many tries in a minute, and new ones when that is over', () => {
  const { clock, tokens, spend } = counted();
  clock.now = 1000;
  tokens.count('a');
  expect(tokens.isSpent('a')).toBe(false);
  clock.now = 30_000;
  spend('a');
  expect(tokens.isSpent('a')).toBe(true);
  expect(tokens.isSpent('b')).toBe(false);
  expect(tokens.endsInMs('a')).toBe(31_000);
  clock.now = 61_000;
  expect(tokens.isSpent('a')).toBe(false);
  expect(tokens.endsInMs('a')).toBe(0);
});

it('so many addresses are remembered, the one that was seen last the longest', () => {
  const { tokens, spend } = counted();
  spend('first');
  spend('kept');
  for (let i = 0; i < 9999; i++) {
    tokens.count(`${i}`);
    if (i % 1000 === 0) tokens.count('kept');
  }
  expect(tokens.isSpent('first')).toBe(false);
  expect(tokens.isSpent('kept')).toBe(true);
});
