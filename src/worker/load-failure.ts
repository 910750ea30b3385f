/**
 * Why a file could not be imported, told so that its author can mend it: the file, the line and what
 * to do. Reads what Node says of it; changes nothing.
 */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { HandlerFileError } from '../errors.ts';

/** Asking Node for the line of a syntax error takes a process of its own; never longer than this, ms. */
const CHECK_MS = 5000;

export async function loadFailure(file: string, error: unknown): Promise<HandlerFileError> {
  const what = error instanceof Error ? error : new Error(String(error));
  const { code } = what as NodeJS.ErrnoException;
  if (code === 'ERR_MODULE_NOT_FOUND') return missingModule(file, what);
  const place = placeIn(what.stack ?? '') ?? (await placeOfSyntaxError(file, what));
  // Often the mistake stands in a file that the handler imports.
  const at = place === undefined || place.file === file ? '' : ` (${place.file}:${place.line})`;
  return new HandlerFileError(
    place?.file === file ? `${file}:${place.line}` : file,
    `cannot be loaded: ${what.name}: ${firstLine(what.message)}${at}.`,
    remedyFor(what),
    { cause: error, data: place === undefined ? {} : { line: place.line } },
  );
}

function remedyFor(error: Error): string {
  if ((error as NodeJS.ErrnoException).code === 'ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX') {
    return 'Node only strips types: replace enums, namespaces and parameter properties by plain objects and fields.';
  }
  // `npm init` writes "type": "commonjs". The command line looks past that; an app's own Node does not.
  if (/outside a module|Unexpected token 'export'/.test(error.message)) {
    return 'Node takes it for CommonJS: write "type": "module" in the package.json above it, or name it .mjs.';
  }
  return error instanceof SyntaxError
    ? 'Correct the syntax there.'
    : 'The file threw while it was loaded: correct it, or move the work into `setup()`.';
}

function missingModule(file: string, error: Error): HandlerFileError {
  const wanted = /Cannot find (?:package|module) '([^']+)'/.exec(error.message)?.[1];
  const isPackage = error.message.startsWith('Cannot find package');
  return new HandlerFileError(
    file,
    `cannot be loaded: ${firstLine(error.message)}.`,
    isPackage
      ? `Install it: npm install ${wanted}.`
      : 'Correct the path of the import; it needs the ending of the file (".ts", ".js").',
    { cause: error },
  );
}

interface Place {
  file: string;
  line: number;
}

/** The first place in a stack that is a file of the user, not of Node. */
function placeIn(stack: string): Place | undefined {
  for (const text of stack.split('\n')) {
    const found =
      /(file:\/\/[^\s():]+?(?::[^\s():/\d][^\s():]*)?):(\d+)/.exec(text) ??
      /^\s*(?:at (?:.*\()?)?(\/[^\s():]+):(\d+)/.exec(text);
    if (!found) continue;
    const [, path, line] = found as unknown as [string, string, string];
    return { file: path.startsWith('file:') ? pathOf(path) : path, line: Number(line) };
  }
  return undefined;
}

function pathOf(url: string): string {
  const { pathname } = new URL(url);
  return fileURLToPath(`file://${pathname}`);
}

/** V8 keeps the line of a syntax error in JavaScript to itself; `node --check` prints it. */
async function placeOfSyntaxError(file: string, error: Error): Promise<Place | undefined> {
  if (!(error instanceof SyntaxError)) return undefined;
  try {
    await promisify(execFile)(process.execPath, ['--check', file], { timeout: CHECK_MS });
  } catch (failed) {
    return placeIn(String((failed as { stderr?: unknown }).stderr ?? ''));
  }
  return undefined;
}

function firstLine(text: string): string {
  return (text.split('\n')[0] ?? '').replace(/\.$/, '');
}
