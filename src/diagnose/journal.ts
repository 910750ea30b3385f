/**
 * The journal on this machine: whether its folder can be written, what is left on the disk, what is in
 * it, and whose it is. Changes nothing but what looking at a lock does.
 */
import { accessSync, constants, existsSync, statfsSync } from 'node:fs';
import { dirname } from 'node:path';
import { judgeFileSystem } from '../journal/file-system.ts';
import { type FolderStatus, journalStatus } from '../journal/inspect.ts';
import { bytesText, countText } from './amounts.ts';
import { fail, type Judged, pass, warn } from './finding.ts';
import type { Check } from './scene.ts';

/** With less than this the first outage fills the disk. */
const FREE_BYTES_MIN = 64 * 1024 * 1024;

export interface Disk {
  /** The folder, or the nearest one above it that is there. */
  folder: string;
  isWritable: boolean;
  freeBytes: number;
  /** `f_type` of statfs(2). */
  type: number;
}

export const journal: Check = {
  name: 'journal',
  label: 'Journal',
  layer: 'local',
  deadlineMs: 5000,
  run: async ({ loaded: { config } }) => {
    const { dir, mode, bytesMax } = config.resilience.journal;
    if (mode === 'memory') {
      return [
        warn(
          'Jobs and outcomes wait in memory while Redis is away: they are lost with the process',
          'JOURNAL=memory',
          'Set JOURNAL=disk and mount a volume at JOURNAL_DIR, unless that is meant so.',
        ),
      ];
    }
    const disk = lookAtDisk(dir);
    const folders = disk.isWritable && existsSync(dir) ? journalStatus(dir) : [];
    return [...judgeDisk(dir, disk, bytesMax), ...judgeFolders(folders)];
  },
};

function lookAtDisk(dir: string): Disk {
  let folder = dir;
  while (!existsSync(folder) && dirname(folder) !== folder) folder = dirname(folder);
  const { bavail, bsize, type } = statfsSync(folder);
  return { folder, isWritable: canWrite(folder), freeBytes: bavail * bsize, type };
}

function canWrite(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK | constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Pure. */
export function judgeDisk(dir: string, disk: Disk, bytesMax: number): Judged[] {
  const { folder, isWritable, freeBytes, type } = disk;
  const seen = `${bytesText(freeBytes)} free, the journal may grow to ${bytesText(bytesMax)}`;
  if (!isWritable) {
    return [
      fail(
        `The journal's folder cannot be written: ${dir}`,
        folder === dir ? 'no write permission' : `${folder} has no write permission`,
        `Let the user of the service write there (chown), or name another folder with JOURNAL_DIR.`,
      ),
    ];
  }
  const findings: Judged[] = [];
  const verdict = judgeFileSystem(type, dir);
  if (verdict.type === 'refuse') {
    findings.push(
      fail(
        `The journal's folder is on a network file system (${verdict.kind}): locks do not hold there`,
        dir,
        'Name a folder on a local disk or block volume with JOURNAL_DIR.',
      ),
    );
  } else if (verdict.type === 'warn') {
    findings.push(
      warn(
        "The journal's folder is not on a disk of its own",
        verdict.warning,
        'Mount a volume on a local disk there, or set JOURNAL_DIR.',
      ),
    );
  }
  if (freeBytes < FREE_BYTES_MIN) {
    findings.push(
      fail(
        "The journal's disk is full",
        seen,
        'Free space there, or set JOURNAL_DIR to another disk.',
      ),
    );
  } else if (freeBytes < bytesMax) {
    findings.push(
      warn(
        "The journal's disk is full before the journal is",
        seen,
        'Free space there, or lower JOURNAL_BYTES_MAX so that refusals come before a full disk.',
      ),
    );
  }
  return findings.length > 0 ? findings : [pass(`The journal can be written: ${dir}`, seen)];
}

/** Pure: what is in the journals of this machine, and whose it is. */
export function judgeFolders(folders: readonly FolderStatus[]): Judged[] {
  const findings: Judged[] = [];
  let kept = 0;
  for (const folder of folders) {
    const { replica, owner, lockFault, jobs, outcomes, refused, unreadable, quarantined } = folder;
    kept += jobs + outcomes;
    if (lockFault !== undefined) {
      findings.push(
        fail(
          `Whether a living process owns the journal of ${replica} cannot be told`,
          `its lock cannot be tried: ${lockFault}`,
          `Look at lock.db in ${folder.path}: its owner and mode, and the disk.`,
        ),
      );
    }
    if (unreadable !== undefined) {
      findings.push(
        fail(
          `The journal of ${replica} cannot be read`,
          unreadable,
          `holdfast journal verify --replica ${replica} tells where; a service that opens it rescues the rest.`,
        ),
      );
    }
    if (owner === 'none' && jobs + outcomes > 0) {
      findings.push(
        warn(
          `${countText(jobs + outcomes, 'entry')} of ${replica} have no owner: its process has died`,
          `${countText(jobs, 'job')}, ${countText(outcomes, 'outcome')}`,
          'Start a service with this folder: it takes them over. Or by hand: holdfast journal replay',
        ),
      );
    }
    if (refused > 0) {
      findings.push(
        warn(
          `Redis refuses ${countText(refused, 'entry')} of ${replica} for good`,
          'they are kept',
          'See why: holdfast journal list --refused; then: holdfast journal replay --refused',
        ),
      );
    }
    if (quarantined.length > 0) {
      findings.push(
        warn(
          `${countText(quarantined.length, 'damaged part')} of the journal of ${replica} in quarantine`,
          quarantined.slice(0, 3).join(', '),
          'Read report.json in each; check the disk (dmesg, smartctl). Remove them when nothing is missed.',
        ),
      );
    }
  }
  if (findings.length > 0 || folders.length === 0) return findings;
  const owners = folders.map(({ replica }) => replica).join(', ');
  return [
    pass(
      kept === 0
        ? 'No entry waits'
        : `Waiting for Redis, all with an owner: ${kept === 1 ? '1 entry' : `${kept.toLocaleString('en')} entries`}`,
      `journals of ${owners}`,
    ),
  ];
}
