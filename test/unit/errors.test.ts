/** The page of errors against the catalogue. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import * as catalogue from '../../src/errors.ts';
import { errorEntries, errorsPage } from '../../src/errors-page.ts';

describe('the catalogue of errors', () => {
  it('is documented class by class', () => {
    const classes = Object.keys(catalogue).filter((name) => name !== 'HoldfastError');
    expect(
      errorEntries()
        .map(({ name }) => name)
        .sort(),
    ).toEqual(classes.sort());
    expect(readFileSync('docs/errors.md', 'utf8')).toBe(errorsPage());
  });

  it('says what happened and what to do', () => {
    const error = new catalogue.JobTooLargeError('faq', 2, 1);
    expect(error).toMatchObject({
      name: 'JobTooLargeError',
      code: 'HOLDFAST_JOB_TOO_LARGE',
      message: expect.stringContaining(error.remedy),
      data: { queue: 'faq', bytes: 2, bytesMax: 1 },
    });
    expect(errorEntries()).toContainEqual(
      expect.objectContaining({ name: error.name, code: error.code }),
    );
  });
});
