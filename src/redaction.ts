/**
 * Hides credentials in URLs, and what stands under the name of a secret, anywhere in a text: what the log, outage records and messages pass through.
 * Pure, so that every room may use it.
 */

/**
 * Credentials in a URL in a JSON line: up to the last @, since a password may hold one, but not beyond
 * the JSON string that it stands in.
 */
const IN_JSON = /\b([a-z][a-z0-9+.-]*:\/\/[^\s:/@"]*):(?:\\.|[^\s"\\])+@/gi;

/** The same in a plain text, where a quote or a backslash may be a part of the password. */
const IN_TEXT = /\b([a-z][a-z0-9+.-]*:\/\/[^\s:/@]*):\S+@/gi;

/** How fields, headers and parameters of secrets end, in any case and with any beginning. */
const SECRET_NAME = '[\\w.-]*(?:password|passwd|token|secret|api[-_]?key|authorization)';
/** A text under such a name in a line of JSON, at any depth. */
const FIELD = new RegExp(`("${SECRET_NAME}":)"(?:\\\\.|[^"\\\\])*"`, 'gi');
/** Such a parameter of a query, in JSON or not. */
const PARAMETER = new RegExp(`([?&]${SECRET_NAME}=)[^&\\s"'\\\\<>]+`, 'gi');
/** Most lines have none: looking once is quicker than replacing. */
const MAY_HOLD = /password|passwd|token|secret|api[-_]?key|authorization/i;

/** Hides what stands between a colon and an @ in every URL of a line of JSON, and fields of secrets. */
export function redactText(line: string): string {
  const text = line.includes('://') ? line.replace(IN_JSON, '$1:***@') : line;
  return MAY_HOLD.test(text) ? text.replace(FIELD, '$1"***"').replace(PARAMETER, '$1***') : text;
}

/** Hides them in a text that is not JSON, quotes of the password included. */
export function redactPlain(text: string): string {
  const hidden = text.includes('://') ? text.replace(IN_TEXT, '$1:***@') : text;
  return hidden.replace(PARAMETER, '$1***');
}
