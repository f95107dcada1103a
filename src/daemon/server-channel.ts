/**
 * What supervisor and server say to each other (channel.ts), until the server's turn comes. From then on it listens to
 * nothing but the control page.
 *
 *   server → {"ready":true,"pid":N}       it has loaded what is live and waits for its turn
 *            {"refused":"version"|"invalid"|"unreadable"}   it can't serve what is live, and exits
 *            {"loaded":SEQUENCE}          the answer to load
 *   supervisor → {"load":true}            another generation may be live: load it now rather than at one's turn
 *                {"go":true,"skip":false} its turn. skip: the request on record killed its predecessors
 *   the end of the stream                 nobody wants it any more
 */
import type { Refusal } from '../store/shared.ts';
import { ChannelError, type Message } from './channel.ts';

export type FromServer =
  | { readonly ready: true; readonly pid: number }
  | { readonly refused: Refusal }
  | { readonly loaded: number };

export type ToServer = { readonly go: true; readonly skip: boolean } | { readonly load: true };

/** Throws ChannelError for what the supervisor does not say. */
export function parseToServer(message: Message): ToServer {
  if (message['load'] === true) return { load: true };
  const skip = message['skip'];
  if (message['go'] === true && typeof skip === 'boolean') return { go: true, skip };
  throw new ChannelError('an order that is none');
}
