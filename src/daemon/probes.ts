/**
 * Which certificate a server presents: the agent's part of the loop that hooks close. A TLS handshake, and its end; nothing
 * is sent and nothing is believed. The certificate is not verified, which is right here and nowhere else: what comes back is a
 * serial that is compared with the one in the mount, and all that a liar at that address could do is to look out of date.
 */
import { connect } from 'node:tls';
import { serialOf } from '../hooks/changes.ts';
import type { ProbeAnswer } from '../hooks/probe-state.ts';
import { parseAddress } from '../hooks/settings.ts';
import type { ProbeRequest } from './agent-channel.ts';

/** Never rejects: what went wrong is a code of Node's or of OpenSSL's, or `timeout`. */
export function probeTls({ address, servername, timeoutMs }: ProbeRequest): Promise<ProbeAnswer> {
  const to = parseAddress(address);
  if (to === undefined) return Promise.resolve({ serial: null, error: 'address-invalid' });
  return new Promise((resolve) => {
    const socket = connect({
      ...to,
      ...(servername === undefined ? {} : { servername }),
      rejectUnauthorized: false,
    });
    const finish = (serial: string | undefined, error: string) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(serial === undefined ? { serial: null, error: plain(error) } : { serial, error: null });
    };
    const timer = setTimeout(() => finish(undefined, 'timeout'), timeoutMs);
    socket.once('secureConnect', () => {
      finish(serialOf(socket.getPeerCertificate().serialNumber ?? ''), 'no-certificate');
    });
    // Stays: an end of the connection after all is said must not be one of the agent.
    socket.on('error', (error: NodeJS.ErrnoException) => finish(undefined, error.code ?? 'tls-failed'));
    socket.once('end', () => finish(undefined, 'closed'));
  });
}

function plain(code: string): string {
  return /^[A-Za-z0-9_-]{1,64}$/.test(code) ? code : 'tls-failed';
}
