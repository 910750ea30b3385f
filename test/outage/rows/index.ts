/** All rows, in the order of the matrix. */
import type { Row } from '../harness/row.ts';
import { serverRows } from './server.ts';

export const rows: readonly Row[] = [...serverRows];
