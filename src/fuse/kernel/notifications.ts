/** What is written to /dev/fuse unasked: an out header with unique 0 and the code where an errno would be. */
import { NOTIFY, NOTIFY_INVAL_INODE_OUT, OUT_HEADER, WORD_BYTES } from './protocol.ts';

const TWO_TO_32 = 0x1_0000_0000;

/** All requests that were taken and not answered come again (7.40, where it was negotiated). */
export function resendNotification(): Buffer {
  return notification(NOTIFY.RESEND, 0).buffer;
}

/** The inode's attributes are asked for again. Never waits. ENOENT exactly when the kernel does not know the inode. */
export function attributesNotification(nodeid: number): Buffer {
  return invalInode(nodeid, true);
}

/** Its cached pages go too. May wait for a page that is being read: not for whoever answers requests. */
export function pagesNotification(nodeid: number): Buffer {
  return invalInode(nodeid, false);
}

function invalInode(nodeid: number, attributesOnly: boolean): Buffer {
  const { buffer, words } = notification(NOTIFY.INVAL_INODE, NOTIFY_INVAL_INODE_OUT.words);
  const body = OUT_HEADER.words;
  words[body + NOTIFY_INVAL_INODE_OUT.ino] = nodeid;
  words[body + NOTIFY_INVAL_INODE_OUT.ino + 1] = Math.floor(nodeid / TWO_TO_32);
  words.fill(attributesOnly ? -1 : 0, body + NOTIFY_INVAL_INODE_OUT.off, body + NOTIFY_INVAL_INODE_OUT.len);
  return buffer;
}

function notification(code: number, bodyWords: number): { buffer: Buffer; words: Uint32Array } {
  const words = new Uint32Array(OUT_HEADER.words + bodyWords);
  words[OUT_HEADER.len] = words.byteLength;
  words[OUT_HEADER.error] = code;
  return { buffer: Buffer.from(words.buffer, 0, words.length * WORD_BYTES), words };
}
