/**
 * What kind of file system the journal's folder is on, and what room it has: on some a lock does not hold, on some the
 * entries are gone with the container. Never guesses: an unknown kind is taken as a local disk.
 */
import { statfsSync } from 'node:fs';

/** `f_type` of statfs(2) on Linux, linux/magic.h and the kernel's file system sources. */
const NETWORK: Readonly<Record<number, string>> = {
  26985: 'NFS',
  20859: 'SMB',
  4283649346: 'CIFS',
  4266872130: 'SMB2',
  12805120: 'Ceph',
  1397113167: 'AFS',
  198183888: 'Lustre',
  1196443219: 'GPFS',
  18225520: 'GFS2',
  1952539503: 'OCFS2',
};

const VOLATILE: Readonly<Record<number, string>> = {
  16914836: 'tmpfs (memory): its entries are gone after a restart of the machine or container',
  2240043254: 'ramfs (memory): its entries are gone after a restart of the machine or container',
  2035054128: "overlayfs (the container's own layer): its entries are gone with the container",
};

const DOUBTFUL: Readonly<Record<number, string>> = {
  1702057286: 'FUSE: whether locks and fsync hold depends on what is behind it',
  16914839: '9p: whether locks and fsync hold depends on what is behind it',
};

export type FileSystemVerdict =
  | { type: 'fine' }
  | { type: 'warn'; warning: string }
  | { type: 'refuse'; kind: string };

/** @param type `f_type` as statfs gives it */
export function judgeFileSystem(type: number, path: string): FileSystemVerdict {
  const magic = type >>> 0;
  const network = NETWORK[magic];
  if (network !== undefined) return { type: 'refuse', kind: network };
  const doubt = VOLATILE[magic] ?? DOUBTFUL[magic];
  if (doubt === undefined) return { type: 'fine' };
  return {
    type: 'warn',
    warning: `The journal at ${path} is on ${doubt}. Mount a volume on a local disk there.`,
  };
}

export function fileSystemType(path: string): number {
  return statfsSync(path).type;
}

/** Bytes that this process may still write; without end where the file system does not tell (FUSE). */
export function freeBytes(path: string): number {
  const { bavail, blocks, bsize } = statfsSync(path);
  return blocks === 0 ? Number.POSITIVE_INFINITY : bavail * bsize;
}
