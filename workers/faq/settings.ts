/** What the faq worker reads of the environment; docs/configuration.md lists it. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';

export interface ModelSettings {
  baseUrl: string;
  /** From a file it is read at each use, so that changing it needs no restart. */
  readonly apiKey: string;
  model: string;
  timeoutMs: number;
}

export interface FaqSettings {
  /** Absolute folders that questions may be answered from. */
  roots: string[];
  outputDir: string;
  /** undefined: documents are assembled from passages. */
  llm: ModelSettings | undefined;
}

const MODEL = 'gpt-4o-mini';
const TIMEOUT_MS = 120_000;
const UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000 };

/** @throws Error that names the variable */
export function faqSettings(
  env: Readonly<Record<string, string | undefined>>,
  cwd: string,
): FaqSettings {
  const roots = (env.SOURCES_ROOTS || 'docs').split(',').map((root) => resolve(cwd, root.trim()));
  const baseUrl = env.LLM_BASE_URL || undefined;
  if (baseUrl !== undefined && !URL.canParse(baseUrl)) {
    throw new Error(`LLM_BASE_URL is not a URL: ${baseUrl}`);
  }
  const keyFile = env.LLM_API_KEY ? undefined : env.LLM_API_KEY_FILE || undefined;
  let apiKey = env.LLM_API_KEY || (keyFile ? readFileSync(keyFile, 'utf8').trim() : '');
  return {
    roots,
    outputDir: resolve(cwd, env.OUTPUT_DIR || 'output'),
    llm:
      baseUrl === undefined
        ? undefined
        : {
            baseUrl,
            // Endpoints on the own machine often want none; the client insists on a text.
            get apiKey() {
              // While somebody replaces the file, the one that was known serves.
              apiKey = (keyFile && read(keyFile)) || apiKey;
              return apiKey || 'none';
            },
            model: env.LLM_MODEL || MODEL,
            timeoutMs: timeout(env.LLM_TIMEOUT),
          },
  };
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch {
    return undefined;
  }
}

function timeout(text: string | undefined): number {
  if (!text) return TIMEOUT_MS;
  const match = /^(\d+)(ms|s|m)?$/.exec(text.trim());
  if (!match) throw new Error(`LLM_TIMEOUT is not a duration such as 90s: ${text}`);
  return Number(match[1]) * (UNITS_MS[match[2] ?? 'ms'] ?? 1);
}
