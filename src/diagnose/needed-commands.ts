/**
 * Every Redis command that BullMQ's scripts and Holdfast's own send, each with arguments that could be
 * sent as they stand: harmless on a key of our own. `config/redis-acl.conf` grants them. `test/unit/diagnose-commands.test.ts` holds the list
 * against the scripts of the installed BullMQ and against ours. Pure.
 */

/** Stands for our key in the arguments. */
const KEY = '<key>';
const OTHER = '<other>';

/** The command's name and its arguments. */
const COMMANDS: readonly (readonly string[])[] = [
  ['PING'],
  ['INFO'],
  ['TIME'],
  ['EVALSHA', 'ffffffffffffffffffffffffffffffffffffffff', '1', KEY],
  ['EVAL', 'return 1', '1', KEY],
  ['MULTI'],
  ['EXEC'],
  ['EXISTS', KEY],
  ['TYPE', KEY],
  ['GET', KEY],
  ['SET', KEY, '1', 'PX', '1000'],
  ['INCR', KEY],
  ['INCRBY', KEY, '1'],
  ['DECR', KEY],
  ['EXPIRE', KEY, '1'],
  ['PEXPIRE', KEY, '1000'],
  ['PEXPIREAT', KEY, '1'],
  ['PERSIST', KEY],
  ['PTTL', KEY],
  ['DEL', KEY],
  ['UNLINK', KEY],
  ['RENAME', KEY, OTHER],
  ['HSET', KEY, 'f', '1'],
  ['HMSET', KEY, 'f', '1'],
  ['HGET', KEY, 'f'],
  ['HMGET', KEY, 'f'],
  ['HGETALL', KEY],
  ['HKEYS', KEY],
  ['HVALS', KEY],
  ['HEXISTS', KEY, 'f'],
  ['HLEN', KEY],
  ['HDEL', KEY, 'f'],
  ['HINCRBY', KEY, 'f', '1'],
  ['LPUSH', KEY, '1'],
  ['RPUSH', KEY, '1'],
  ['LLEN', KEY],
  ['LINDEX', KEY, '0'],
  ['LRANGE', KEY, '0', '0'],
  ['LPOS', KEY, '1'],
  ['LREM', KEY, '0', '1'],
  ['LSET', KEY, '0', '1'],
  ['LTRIM', KEY, '0', '0'],
  ['LPOP', KEY],
  ['RPOP', KEY],
  ['RPOPLPUSH', KEY, OTHER],
  ['SADD', KEY, 'm'],
  ['SCARD', KEY],
  ['SISMEMBER', KEY, 'm'],
  ['SMEMBERS', KEY],
  ['SREM', KEY, 'm'],
  ['ZADD', KEY, '0', 'm'],
  ['ZCARD', KEY],
  ['ZCOUNT', KEY, '0', '1'],
  ['ZLEXCOUNT', KEY, '-', '+'],
  ['ZSCORE', KEY, 'm'],
  ['ZRANGE', KEY, '0', '0'],
  ['ZRANGEBYSCORE', KEY, '0', '1'],
  ['ZRANGEBYLEX', KEY, '-', '+'],
  ['ZREVRANGE', KEY, '0', '0'],
  ['ZREVRANGEBYSCORE', KEY, '1', '0'],
  ['ZREM', KEY, 'm'],
  ['ZREMRANGEBYRANK', KEY, '0', '0'],
  ['ZREMRANGEBYSCORE', KEY, '0', '1'],
  ['ZPOPMIN', KEY],
  ['BZPOPMIN', KEY, '0.01'],
  ['XADD', KEY, 'MAXLEN', '~', '1', '*', 'f', '1'],
  ['XLEN', KEY],
  ['XRANGE', KEY, '-', '+', 'COUNT', '1'],
  ['XREAD', 'COUNT', '1', 'STREAMS', KEY, '0'],
  ['XTRIM', KEY, 'MAXLEN', '0'],
  ['XDEL', KEY, '1-1'],
];

export interface NeededCommand {
  name: string;
  args: string[];
}

/** For two keys below the queue prefix, which lie in one slot. */
export function neededCommands(key: string, other: string): NeededCommand[] {
  return COMMANDS.map(([name, ...args]) => ({
    name: name!,
    args: args.map((arg) => (arg === KEY ? key : arg === OTHER ? other : arg)),
  }));
}
