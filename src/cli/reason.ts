/**
 * Why a connection could not be made, in one line for people: the innermost of nested errors.
 */

/** The innermost reason, in one line. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { cause } = error;
  if (cause instanceof AggregateError && cause.errors[0] !== undefined) {
    return reasonOf(cause.errors[0]);
  }
  if (cause instanceof Error) return reasonOf(cause);
  const text =
    error.message === '' ? ((error as NodeJS.ErrnoException).code ?? error.name) : error.message;
  return text.split('\n', 1)[0]!;
}
