/** Certificates, an nginx that serves them, and the serial that a TLS client sees. */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { connect } from 'node:tls';
import { type Bench, eventually, must } from './program.ts';

/** A self-signed certificate with this serial (hex) as DIRECTORY/web.crt and web.key. */
export async function makeCertificate(directory: string, serial: string): Promise<void> {
  const files = ['-keyout', path.join(directory, 'web.key'), '-out', path.join(directory, 'web.crt')];
  const subject = ['-subj', '/CN=web.test', '-days', '30', '-set_serial', `0x${serial}`];
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  await must('openssl', ['req', '-x509', ...key, ...subject, ...files]);
}

/** The serial of the certificate that is served on a port, in hex. */
export function servedSerial(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, timeout: 5_000 });
    socket.once('secureConnect', () => {
      const { serialNumber } = socket.getPeerCertificate();
      socket.destroy();
      resolve(serialNumber);
    });
    socket.once('timeout', () => socket.destroy(new Error('no handshake in time')));
    socket.once('error', reject);
  });
}

/** An nginx of its own that takes web.crt and web.key from `certificates`; it is ended after the test. */
export async function startNginx(
  bench: Bench,
  certificates: string,
  port: number,
): Promise<{ reload(): void }> {
  const at = (name: string) => bench.path(name);
  await writeFile(
    at('nginx.conf'),
    `daemon off; pid ${at('nginx.pid')}; error_log ${at('nginx.log')}; worker_processes 1; events {}
http {
  access_log off;
  client_body_temp_path ${at('body')}; proxy_temp_path ${at('proxy')}; fastcgi_temp_path ${at('fastcgi')};
  uwsgi_temp_path ${at('uwsgi')}; scgi_temp_path ${at('scgi')};
  server {
    listen 127.0.0.1:${port} ssl;
    ssl_certificate ${certificates}/web.crt;
    ssl_certificate_key ${certificates}/web.key;
    return 200 "hello";
  }
}
`,
  );
  const child = bench.start('nginx', ['-c', at('nginx.conf'), '-e', at('nginx.log')]);
  await eventually(() => servedSerial(port));
  return { reload: () => void child.kill('SIGHUP') };
}
