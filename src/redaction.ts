/**
 * Hides credentials in URLs, anywhere in a text: what the log, outage records and messages pass through.
 * Pure, so that every room may use it.
 */

/**
 * Credentials in a URL, anywhere in a text or a JSON line: up to the last @, since a password may hold
 * one, but not beyond the JSON string that it stands in.
 */
const URL_PASSWORD = /\b([a-z][a-z0-9+.-]*:\/\/[^\s:/@"]*):(?:\\.|[^\s"\\])+@/gi;

/** Hides what stands between a colon and an @ in every URL of a text. */
export function redactText(text: string): string {
  return text.includes('://') ? text.replace(URL_PASSWORD, '$1:***@') : text;
}
