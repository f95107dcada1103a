/** sd_notify(3): tells systemd how we are. Node has no unix datagram sockets, hence the native call. */
import { loadNative } from './native.ts';

/**
 * Sends e.g. "READY=1\nSTATUS=...". False without doing anything when `socket` (NOTIFY_SOCKET) is not set: we were not
 * started by systemd. Throws SystemCallError when it is set and can't be reached.
 */
export async function notify(
  state: string,
  socket: string | undefined = process.env['NOTIFY_SOCKET'],
): Promise<boolean> {
  if (socket === undefined || socket === '') return false;
  (await loadNative()).sendDatagram(socket, state);
  return true;
}
