/** All rows, in the order of the matrix. */
import type { Row } from '../harness/row.ts';
import { dataRows } from './data.ts';
import { networkRows } from './network.ts';
import { serverRows } from './server.ts';
import { stateRows } from './states.ts';
import { topologyRows } from './topology.ts';
import { workerRows } from './workers.ts';

export const rows: readonly Row[] = [
  ...serverRows,
  ...networkRows,
  ...stateRows,
  ...dataRows,
  ...topologyRows,
  ...workerRows,
].sort((a, b) => number(a) - number(b));

/** 3.10 comes after 3.9. */
function number({ id }: Row): number {
  const [row = 0, part = 0] = id.split('.').map(Number);
  return row * 1000 + part;
}
