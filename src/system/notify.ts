/** sd_notify(3): tells systemd how we are, and gives it descriptors to keep. */
import { sendDatagram } from './datagram.ts';

/**
 * Sends e.g. "READY=1\nSTATUS=...", with a descriptor where it is to keep one. False without doing anything when `socket`
 * (NOTIFY_SOCKET) is not set: we were not started by systemd. Throws SystemCallError when it is set and can't be reached.
 */
export async function notify(
  state: string,
  socket: string | undefined = process.env['NOTIFY_SOCKET'],
  descriptor?: number,
): Promise<boolean> {
  if (socket === undefined || socket === '') return false;
  sendDatagram(socket, state, descriptor);
  return true;
}
