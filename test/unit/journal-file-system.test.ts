/** What the journal thinks of the file system that it is put on. */
import { describe, expect, it } from 'vitest';
import { judgeFileSystem } from '../../src/journal/file-system.ts';
import { folderOf } from '../../src/journal/folder.ts';

describe('the place of a journal', () => {
  it.each([
    ['ext4', 0xef53, 'fine'],
    ['xfs', 0x58465342, 'fine'],
    ['btrfs, as a signed number', 0x9123683e | 0, 'fine'],
    ['tmpfs', 0x01021994, 'warn'],
    ['overlayfs', 0x794c7630, 'warn'],
    ['FUSE', 0x65735546, 'warn'],
    ['NFS', 0x6969, 'refuse'],
    ['CIFS, as a signed number', 0xff534d42 | 0, 'refuse'],
    ['Ceph', 0x00c36400, 'refuse'],
  ])('on %s is judged by what its locks and its life are worth', (_name, magic, type) => {
    expect(judgeFileSystem(magic, '/data').type).toBe(type);
  });

  it('names the path and the remedy in a warning', () => {
    const verdict = judgeFileSystem(0x794c7630, '/data/journal');
    expect(verdict).toMatchObject({
      warning: expect.stringMatching(/\/data\/journal.*container.*Mount a volume/),
    });
  });

  it.each(['a', '..', '.hidden', 'a/b', '../../etc', 'é*?', ''])(
    'stays one folder below its base for a replica named %j',
    (replica) => {
      expect(folderOf('/base', replica).path).toMatch(/^\/base\/[^/.][^/]*$/);
    },
  );

  it('keeps replicas apart', () => {
    const names = ['a', 'A', 'a/b', 'a%2Fb', '.', '..', '%', ''];
    expect(new Set(names.map((name) => folderOf('/base', name).path)).size).toBe(names.length);
  });
});
