/**
 * Who a connection says that it is. ioredis reads user and password at each connect, so what stands in a
 * file is given as a question: a rotation needs no restart. A file that cannot be used leaves what was
 * known, and the mistake is reported; nothing here throws for one.
 */
import type { RedisOptions } from 'ioredis';
import type { RedisConfig } from '../config.ts';
import { HoldfastError } from '../errors.ts';
import { isSameAddress, parseRedisUrl } from './address.ts';
import { rereadFile } from './reread-file.ts';

/** Options that `giveLogin` and `giveSentinelLogin` may define as questions. */
export const LOGIN_OPTIONS = [
  'username',
  'password',
  'sentinelUsername',
  'sentinelPassword',
] as const;
type LoginOption = (typeof LOGIN_OPTIONS)[number];

type Report = (error: HoldfastError) => void;

/** User and password of Redis itself: what is set explicitly wins over what stands in the URL. */
export function giveLogin(options: RedisOptions, config: RedisConfig, report: Report): void {
  const ofUrl = loginOfUrl(config, report);
  if (config.username !== undefined) options.username = config.username;
  else give(options, 'username', config.urlFile, () => ofUrl().username);
  if (config.passwordFile !== undefined) {
    give(options, 'password', config.passwordFile, line(config.passwordFile, 'Redis', report));
  } else if (config.password !== undefined) options.password = config.password;
  else give(options, 'password', config.urlFile, () => ofUrl().password);
}

export function giveSentinelLogin(
  options: RedisOptions,
  config: RedisConfig,
  report: Report,
): void {
  const { sentinelUsername, sentinelPassword, sentinelPasswordFile: file } = config;
  if (sentinelUsername !== undefined) options.sentinelUsername = sentinelUsername;
  const read = file === undefined ? () => sentinelPassword : line(file, 'Sentinel', report);
  give(options, 'sentinelPassword', file, read);
}

/** As a question where a file answers it, else as a value, if there is one. */
function give(
  options: RedisOptions,
  name: LoginOption,
  file: string | undefined,
  get: () => string | undefined,
): void {
  if (file !== undefined) {
    Object.defineProperty(options, name, { get, enumerable: true, configurable: true });
    return;
  }
  const value = get();
  if (value !== undefined) options[name] = value;
}

/** Editors and `echo` end a file with a line break that is no part of the password. */
function line(path: string, whose: string, report: Report): () => string | undefined {
  const read = rereadFile(path, `${whose} password`, report);
  return () => read()?.replace(/\r?\n$/, '');
}

/**
 * User and password in the URL, or in the file that it was read from. A file that names another server
 * by now is not listened to: its password is not for this one.
 */
function loginOfUrl(
  { url, urlFile }: RedisConfig,
  report: Report,
): () => { username?: string | undefined; password?: string | undefined } {
  let last = url === undefined ? {} : parseRedisUrl(url);
  if (url === undefined || urlFile === undefined) return () => last;
  const read = rereadFile(urlFile, 'Redis URL', report);
  return () => {
    const text = read()?.trim() ?? url;
    try {
      if (isSameAddress(text, url)) last = parseRedisUrl(text);
    } catch (error) {
      if (!(error instanceof HoldfastError)) throw error;
      report(error);
    }
    return last;
  };
}
