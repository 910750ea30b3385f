/**
 * Bodies in JSON: text in UTF-8 as it is. What would be stored as something else than was sent is refused.
 */
import { isUtf8 } from 'node:buffer';
import type { FastifyInstance, FastifyRequest } from 'fastify';

/** As Fastify's own refusals: a status, and a message that says what to do. */
class BodyError extends Error {
  readonly statusCode: number;
  constructor(statusCode: number, message: string) {
    super(message);
    this.statusCode = statusCode;
  }
}

export function registerJsonBody(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser('error', 'error');
  app.removeContentTypeParser('application/json');
  app.addContentTypeParser<Buffer>(
    'application/json',
    { parseAs: 'buffer' },
    (request, body, done) => {
      const mistake = mistakeOf(request, body);
      if (mistake) done(mistake);
      else parse(request, body.toString('utf8'), done);
    },
  );
}

function mistakeOf({ headers }: FastifyRequest, body: Buffer): BodyError | undefined {
  const encoding = headers['content-encoding'] ?? 'identity';
  if (encoding !== 'identity') {
    const name = encoding.replace(/[^\w-]+/g, ' ').slice(0, 32);
    return new BodyError(415, `The body is packed (Content-Encoding: ${name}). Send it as it is.`);
  }
  if (isUtf8(body)) return undefined;
  return new BodyError(
    400,
    'The body is not UTF-8 text. Send JSON in UTF-8; binary data can be sent as base64 in a string.',
  );
}
