/** Real self-signed certificates of openssl, with the names and dates that a test wants. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Wanted {
  /** A folder of the test's. */
  folder: string;
  name: string;
  /** Host names and addresses, as openssl writes them. */
  altNames?: string;
  /** `YYYYMMDDHHMMSSZ`; default from now on for a year. */
  from?: string;
  until?: string;
}

const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'pipe' });

/** Returns the path of `.crt` and `.key`, without its end. */
export function certificate(wanted: Wanted): string {
  const { folder, name, altNames = 'IP:127.0.0.1', from = '20200101000000Z', until } = wanted;
  const path = join(folder, name);
  const [key, crt] = [`${path}.key`, `${path}.crt`];
  openssl('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', key);
  const request = ['-new', '-key', key, '-subj', `/CN=${name}`];
  const extension = ['-addext', `subjectAltName=${altNames}`];
  openssl('req', '-x509', ...request, ...extension, '-days', '365', '-out', crt);
  if (until === undefined) return path;
  // `req` of OpenSSL 3.0 knows no dates; `ca` does, and wants its files.
  const config = `[ca]\ndefault_ca=c\n[c]\ndatabase=${path}.db\nserial=${path}.srl\nnew_certs_dir=${folder}\ndefault_md=sha256\npolicy=p\nunique_subject=no\nx509_extensions=x\n[p]\ncommonName=supplied\n[x]\nsubjectAltName=${altNames}\n`;
  writeFileSync(`${path}.db`, '');
  writeFileSync(`${path}.srl`, '01\n');
  writeFileSync(`${path}.cnf`, config);
  openssl('req', ...request, '-out', `${path}.csr`);
  const sign = ['-batch', '-selfsign', '-config', `${path}.cnf`, '-keyfile', key];
  const dates = ['-startdate', from, '-enddate', until];
  openssl('ca', ...sign, '-in', `${path}.csr`, ...dates, '-out', crt);
  return path;
}
