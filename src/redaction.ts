/**
 * Hides credentials in URLs, anywhere in a text: what the log, outage records and messages pass through.
 * Pure, so that every room may use it.
 */

/**
 * Credentials in a URL in a JSON line: up to the last @, since a password may hold one, but not beyond
 * the JSON string that it stands in.
 */
const IN_JSON = /\b([a-z][a-z0-9+.-]*:\/\/[^\s:/@"]*):(?:\\.|[^\s"\\])+@/gi;

/** The same in a plain text, where a quote or a backslash may be a part of the password. */
const IN_TEXT = /\b([a-z][a-z0-9+.-]*:\/\/[^\s:/@]*):\S+@/gi;

/** Hides what stands between a colon and an @ in every URL of a line of JSON. */
export function redactText(line: string): string {
  return line.includes('://') ? line.replace(IN_JSON, '$1:***@') : line;
}

/** Hides it in a text that is not JSON, quotes of the password included. */
export function redactPlain(text: string): string {
  return text.includes('://') ? text.replace(IN_TEXT, '$1:***@') : text;
}
