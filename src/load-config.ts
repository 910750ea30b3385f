/**
 * Reads the configuration: environment, `.env` and files of secrets, merged once at start, with every
 * mistake at once. Nothing else in the code reads `process.env`.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { config as readDotenv } from 'dotenv';
import { assemble } from './assemble-config.ts';
import type { Config } from './config.ts';
import { checkPauses, checkRedis, checkTokens } from './config-checks.ts';
import { checkFiles, checkRoots } from './config-files.ts';
import { isInjected, unknownNames } from './config-hints.ts';
import { ConfigError, type ConfigProblem } from './errors.ts';
import { redactText } from './redaction.ts';
import { redactRedisUrl } from './redis/address.ts';
import { CONCURRENCY_PREFIX, concurrencySetting, settings } from './settings.ts';

/** Where an effective value came from. */
export type ValueSource = 'default' | 'environment' | '.env' | 'file';

export interface EffectiveSetting {
  name: string;
  /** As text; secrets are hidden. */
  value: string;
  source: ValueSource;
}

export interface LoadedConfig {
  config: Config;
  effective: EffectiveSetting[];
  /** What looks like a mistake but is not fatal, as sentences. */
  warnings: string[];
}

export interface LoadOptions {
  /** The environment; default process.env. */
  env?: Readonly<Record<string, string | undefined>>;
  /** Folder of `.env` and of relative paths; default the working folder. */
  cwd?: string;
  /** Values that win over the environment, by variable: what the command line said. */
  overrides?: Readonly<Record<string, string | undefined>>;
  /** Also check what only a service needs: a producer or the command line may run elsewhere. */
  isForService?: boolean;
  /** For who asks a service and is none: any one token will do then. */
  isCaller?: boolean;
  /** Which of the environment and of `.env` counts; default all. */
  reads?: (name: string, text: string) => boolean;
}

const HIDDEN = '***';

/**
 * The configuration of this process.
 * @throws ConfigError with every mistake at once
 */
export function loadConfig(options: LoadOptions = {}): LoadedConfig {
  const cwd = options.cwd ?? process.cwd();
  const given = collect(options, cwd);
  const injected = [...given].filter(([name, { text }]) => isInjected(name, text));
  for (const [name] of injected) given.delete(name);
  const problems: ConfigProblem[] = [];
  const values: Record<string, unknown> = {};
  const effective: EffectiveSetting[] = [];
  for (const [name, setting] of Object.entries(settings)) {
    const found = given.get(name) ?? fromFile(name, setting.secret, given, problems);
    const text = found?.text ?? setting.default;
    if (text === undefined) continue;
    const parsed = setting.parse.safeParse(text);
    const shown = show(name, text, setting.secret);
    if (parsed.success) values[name] = parsed.data;
    else if (text === '' && setting.default === '') values[name] = [];
    else
      problems.push({
        where: name,
        value: JSON.stringify(shown),
        allowed: `expected ${setting.allowed}`,
      });
    effective.push({ name, value: shown, source: found?.source ?? 'default' });
  }
  const passwordFile = given.get('REDIS_PASSWORD_FILE');
  if (passwordFile !== undefined) {
    const { text: value, source } = passwordFile;
    // Its content is read at every connect and wins over the password itself.
    const shown = { name: 'REDIS_PASSWORD_FILE', value, source };
    effective.splice(effective.findIndex(({ name }) => name === 'REDIS_PASSWORD') + 1, 0, shown);
  }
  const perQueue = concurrencyPerQueue(given, effective, problems);
  checkRedis(values, problems);
  if (!options.isCaller) checkTokens(values, problems);
  checkPauses(values, problems);
  checkFiles(given, problems);
  if (options.isForService) {
    checkRoots(given, (values.SOURCES_ROOTS ?? []) as string[], cwd, problems);
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return {
    config: assemble({ values, perQueue, given, cwd, version: packageVersion() }),
    effective,
    warnings: [
      ...injected.map(
        ([name, { text }]) =>
          `${name}=${text} is what Kubernetes injects for a service of that name; it is ignored. Set enableServiceLinks: false, or set ${name} yourself.`,
      ),
      ...unknownNames([...given].map(([name, { text }]) => [name, text])),
    ],
  };
}

/** `.env` below the environment below the command line; an empty value is as good as none. */
function collect(options: LoadOptions, cwd: string): Given {
  const given: Given = new Map();
  const dotenv: Record<string, string> = {};
  readDotenv({ path: join(cwd, '.env'), processEnv: dotenv, quiet: true });
  const add = (
    from: Readonly<Record<string, string | undefined>>,
    source: ValueSource,
    counts: LoadOptions['reads'] = () => true,
  ) => {
    for (const [name, text] of Object.entries(from)) {
      if (text !== undefined && text !== '' && counts(name, text))
        given.set(name, { text, source });
    }
  };
  add(dotenv, '.env', options.reads);
  add(options.env ?? process.env, 'environment', options.reads);
  add(options.overrides ?? {}, 'environment');
  return given;
}

/** Every secret may stand in a file, as container platforms mount them. */
function fromFile(
  name: string,
  secret: boolean,
  given: Given,
  problems: ConfigProblem[],
): { text: string; source: ValueSource } | undefined {
  const path = given.get(`${name}_FILE`)?.text;
  // The password's file is read again at every connect, so it is not read here.
  if (!secret || path === undefined || name === 'REDIS_PASSWORD') return undefined;
  try {
    return { text: readFileSync(path, 'utf8').trim(), source: 'file' };
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'unreadable';
    problems.push({
      where: `${name}_FILE`,
      value: path,
      allowed: `the file cannot be read (${code})`,
    });
    return undefined;
  }
}

function show(name: string, text: string, secret: boolean): string {
  if (name === 'REDIS_URL') return redactRedisUrl(text);
  return secret ? HIDDEN : redactText(text);
}

function concurrencyPerQueue(
  given: Given,
  effective: EffectiveSetting[],
  problems: ConfigProblem[],
): Record<string, number> {
  const perQueue: Record<string, number> = {};
  for (const [name, { text, source }] of given) {
    if (!name.startsWith(CONCURRENCY_PREFIX)) continue;
    const parsed = concurrencySetting.parse.safeParse(text);
    if (parsed.success) perQueue[name.slice(CONCURRENCY_PREFIX.length)] = parsed.data;
    else
      problems.push({
        where: name,
        value: text,
        allowed: `expected ${concurrencySetting.allowed}`,
      });
    effective.push({ name, value: text, source });
  }
  return perQueue;
}

/** What was given, by variable, and where. */
export type Given = Map<string, { text: string; source: ValueSource }>;

export function packageVersion(): string {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
