/**
 * Takes a job that ran from the journal, in one transaction with its add, so that nobody else takes it
 * between the two: it is active under our lock, as if it had been taken from Redis when it began.
 *
 *   KEYS  those of `begin.ts`
 *   ARGV  1 key prefix of the queue ("bull:q:")  2 id  3 token  4 timestamp  5 ats  6 atm
 *         7 lock's life (ms)  8… fields of its hash that its runs here wrote, each with its value
 *
 * Another job of this id, or one that was started as often already, is left alone.
 */
import { BEGIN, BEGIN_KEYS } from './begin.ts';

export const ISLAND_CLAIM = `${BEGIN}
local jobKey, id, ats = ARGV[1] .. ARGV[2], ARGV[2], tonumber(ARGV[5])
local f = redis.call('HMGET', jobKey, 'timestamp', 'ats')
if not f[1] or tonumber(f[1]) ~= tonumber(ARGV[4]) or tonumber(f[2] or '0') >= ats then return 0 end
begin(jobKey, id, ARGV[3], ats, ARGV[7])
if tonumber(ARGV[6]) > 0 then redis.call('HSET', jobKey, 'atm', ARGV[6]) end
if #ARGV > 7 then redis.call('HSET', jobKey, unpack(ARGV, 8)) end
return 1
`;

export const ISLAND_CLAIM_KEY_COUNT = BEGIN_KEYS.length;
