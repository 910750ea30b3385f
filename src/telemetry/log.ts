/**
 * The log: JSON lines on stdout, ISO time, the level as a word; pretty on a terminal. What every line
 * passes here: secrets in URLs are hidden, and errors lose the command that they carry, since its
 * arguments are payloads and passwords.
 */
import { type DestinationStream, type Logger, type LoggerOptions, pino } from 'pino';
import pretty from 'pino-pretty';
import type { Config } from '../config.ts';
import { redactText } from '../redaction.ts';

export { redactText };

/** Names of fields that are never written, wherever they stand at the first two levels. */
const SECRET_FIELDS = ['password', 'token', 'secret', 'apiKey', 'authorization'].flatMap((name) => [
  name,
  `*.${name}`,
]);

export function createLogger(
  config: Pick<Config, 'log' | 'replica' | 'version'>,
  destination?: DestinationStream,
): Logger {
  const options: LoggerOptions = {
    level: config.log.level,
    base: { service: 'holdfast', version: config.version, replica: config.replica },
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label) => ({ level: label }) },
    redact: { paths: SECRET_FIELDS, censor: '***' },
    serializers: { err: serializeError },
    // The whole line, so that no field is forgotten.
    hooks: { streamWrite: redactText },
  };
  if (destination) return pino(options, destination);
  if (config.log.format === 'pretty') {
    const stream = pretty({
      colorize: process.stdout.isTTY && !process.env.NO_COLOR,
      ignore: 'service,version,replica,hostname,pid,event',
      messageFormat: '{msg}',
      singleLine: true,
      sync: true,
    });
    return pino(options, stream);
  }
  // Synchronous: a line that was written is written, also when the process is killed next.
  return pino(options, pino.destination({ fd: 1, sync: true }));
}

function serializeError(error: unknown): Record<string, unknown> {
  if (!(error instanceof Error)) return { message: String(error) };
  const { name, message, stack } = error;
  const code = (error as { code?: unknown }).code;
  return {
    type: name,
    message,
    ...(code === undefined ? {} : { code }),
    stack: stack ?? '',
  };
}
