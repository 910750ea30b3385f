/** Why a server could not listen, and which setting to change. */
import { HttpListenError } from '../errors.ts';

/** The settings that named the address, e.g. HTTP_HOST and HTTP_PORT. */
export interface AddressSettings {
  host: string;
  port: string;
  /** What else makes an address that others reach safe. */
  open: string;
}

export function listenError(
  host: string,
  port: number,
  settings: AddressSettings,
  cause: unknown,
): unknown {
  const { code } = cause as NodeJS.ErrnoException;
  const free = port === 65_535 ? 8081 : port + 1;
  switch (code) {
    case 'EADDRINUSE':
      return new HttpListenError(
        host,
        port,
        'another program (perhaps another Holdfast) uses this port',
        `Choose another one with ${settings.port}, e.g. ${settings.port}=${free}; ${settings.port}=0 takes a free one.`,
        cause,
      );
    case 'EACCES':
      return new HttpListenError(
        host,
        port,
        'this user may not use this port',
        `Choose one above 1023 with ${settings.port}.`,
        cause,
      );
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return new HttpListenError(
        host,
        port,
        'this machine has no such address',
        `Set ${settings.host} to an address of this machine, e.g. 127.0.0.1, or 0.0.0.0${settings.open}.`,
        cause,
      );
    default:
      return cause;
  }
}
