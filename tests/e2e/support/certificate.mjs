// A certificate authority of our own and a certificate for localhost, in PEM files.
import { execFileSync } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export function makeCertificate(folder) {
  const file = (name) => join(folder, name);
  const openssl = (...args) => execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  openssl('req', '-x509', ...newKey, '-keyout', file('ca.key'), '-out', file('ca.crt'), '-days', '2', '-subj', '/CN=Cloakroom test CA');
  openssl('req', ...newKey, '-keyout', file('tls.key'), '-out', file('tls.csr'), '-subj', '/CN=localhost');
  writeFileSync(file('tls.ext'), 'subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\n');
  openssl('x509', '-req', '-in', file('tls.csr'), '-CA', file('ca.crt'), '-CAkey', file('ca.key'), '-CAcreateserial',
    '-days', '2', '-extfile', file('tls.ext'), '-out', file('tls.crt'));
  return { cert: file('tls.crt'), key: file('tls.key'), ca: readFileSync(file('ca.crt')) };
}

// What `--ignore-certificate-errors-spki-list` wants: Chromium then takes this one key as if its authority were known.
export function publicKeyDigest(pemFile) {
  const { publicKey } = new X509Certificate(readFileSync(pemFile));
  return createHash('sha256').update(publicKey.export({ type: 'spki', format: 'der' })).digest('base64');
}
