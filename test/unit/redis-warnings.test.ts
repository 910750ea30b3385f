/** When what INFO says is worth a warning, and when it is over. */
import { describe, expect, it } from 'vitest';
import { findExpiry, findSlowness, findWarnings, type Look } from '../../src/redis/warnings.ts';

const NONE: ReadonlySet<string> = new Set();
const names = (info: string, had = NONE, before: Look[] = [], now = 0) =>
  findWarnings(info, had, before, now).findings.map(({ name }) => name);
const memory = (used: number) => `used_memory:${used}\r\nmaxmemory:1000\r\n`;

describe('a warning', () => {
  it('is given near a limit, and is over only clearly below it', () => {
    expect(names(memory(890))).toEqual([]);
    expect(names(memory(900))).toEqual(['memory-filling']);
    expect(names(memory(870), new Set(['memory-filling']))).toEqual(['memory-filling']);
    expect(names(memory(840), new Set(['memory-filling']))).toEqual([]);
    expect(names('connected_clients:95\nmaxclients:100')).toEqual(['clients-near-limit']);
    expect(names('connected_clients:80\nmaxclients:100')).toEqual([]);
  });

  it('counts only memory that maxmemory counts', () => {
    expect(names(`${memory(950)}mem_not_counted_for_evict:200\r\n`)).toEqual([]);
  });

  it('is given when memory would soon be full at its present growth', () => {
    const before = [{ at: 0, memory: 0.5 }];
    expect(names(memory(700), NONE, before, 120_000)).toEqual(['memory-filling']);
    expect(names(memory(510), NONE, before, 120_000)).toEqual([]);
    expect(names(memory(700), NONE, before, 30_000)).toEqual([]);
    expect(names(memory(610), NONE, [{ at: 0, memory: 0.6 }], 120_000)).toEqual([]);
  });

  it('is given of a replica that is behind, not of one that is being filled', () => {
    const slave = (rest: string) => `slave0:ip=10.0.0.1,port=6379,${rest}`;
    expect(names(slave('state=online,offset=1,lag=11'))).toEqual(['replica-lagging']);
    expect(names(slave('state=online,offset=1,lag=1'))).toEqual([]);
    expect(names(slave('state=wait_bgsave,offset=0,lag=60'))).toEqual([]);
  });

  it('is given of a save that failed', () => {
    expect(names('rdb_last_bgsave_status:err\naof_last_write_status:ok')).toEqual(['save-failing']);
    expect(names('rdb_last_bgsave_status:ok\naof_last_write_status:err')).toEqual(['save-failing']);
  });

  it('is given of answers that come late, and is over only when they come clearly sooner', () => {
    expect(findSlowness(499, false)).toBeUndefined();
    expect(findSlowness(500, false)?.evidence).toBe('a round trip takes 500 ms');
    expect(findSlowness(300, true)?.name).toBe('slow');
    expect(findSlowness(299, true)).toBeUndefined();
  });

  it('is not given of what a server does not tell', () => {
    expect(names('')).toEqual([]);
    expect(names('used_memory:900\nmaxmemory:0\nconnected_clients:5')).toEqual([]);
  });

  it('is given two weeks before the certificate expires', () => {
    const now = Date.parse('2026-11-24T00:00:00Z');
    expect(findExpiry('Dec 20 00:00:00 2026 GMT', now)).toBeUndefined();
    expect(findExpiry('Dec  1 00:00:00 2026 GMT', now)?.evidence).toContain('in 7 days');
    expect(findExpiry('Nov 23 00:00:00 2026 GMT', now)?.evidence).toContain('has expired');
    expect(findExpiry(undefined, now)).toBeUndefined();
  });
});
