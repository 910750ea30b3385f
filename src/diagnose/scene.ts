/**
 * What the checks of one run share: what is looked at, with which clock, and what earlier checks have
 * found for later ones. Owned by the runner, which closes the connection at the end.
 */
import type { LoadedConfig } from '../load-config.ts';
import type { Clock } from '../time.ts';
import type { CheckName, Judged } from './finding.ts';
import type { Info } from './info.ts';
import type { Link } from './link.ts';
import type { Target } from './target.ts';

export interface Scene {
  readonly loaded: LoadedConfig;
  readonly clock: Clock;
  /** Takes longer: two samples of the memory, more PINGs, all locks. */
  readonly isDeep: boolean;
  /** Where `/proc` and `/sys` are; another folder in tests. */
  readonly root: string;
  readonly target: Target | undefined;
  /** The open connection; made by `auth`. */
  link?: Link;
  /** INFO of each server by its label; read by `server`. */
  infos?: ReadonlyMap<string, Info>;
}

export interface Check {
  readonly name: CheckName;
  /** For people: the first column. */
  readonly label: string;
  /** `way`: a failure ends all that needs Redis. `redis`: needs the way. `local`: always runs. */
  readonly layer: 'local' | 'way' | 'redis';
  /** It has this long, ms. */
  readonly deadlineMs: number;
  /** What it has found; an error is told as a condition. Must not outlive `signal`. */
  run(scene: Scene, signal: AbortSignal): Promise<Judged[]>;
}
