/** Unix datagrams, which Node has not, and descriptors that go with them: unix(7), cmsg(3). */
import { closeSync } from 'node:fs';
import { late, libc } from './libc.ts';

// sys/socket.h
const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const MSG_NOSIGNAL = 0x4000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
/** Where things are in the block: struct msghdr, iovec, cmsghdr with one int, sockaddr_un, the message. Of a 64-bit Linux. */
const AT = { header: 0, iovec: 64, control: 96, address: 128, text: 256, end: 4096 };
/** Of a struct cmsghdr with one descriptor: its length, and what it takes. */
const CONTROL_BYTES = 20;
const CONTROL_SPACE = 24;

const socket = late('int socket(int, int, int)');
const sendmsg = late('int64_t sendmsg(int, const void *, int)');

/** Never freed: one is enough, for who calls is one thread. */
let block: { readonly address: bigint; readonly bytes: Buffer } | undefined;

function cleanBlock() {
  const { koffi } = libc();
  if (block === undefined) {
    const address = koffi.alloc('uint8_t', AT.end) as unknown as bigint;
    block = { address, bytes: Buffer.from(koffi.view(address, AT.end)) };
  }
  block.bytes.fill(0);
  return block;
}

/**
 * One datagram. `address` is a path, or @name for an abstract socket; a `descriptor` stays the caller's, who reads gets another of
 * the same. Throws SystemCallError, and RangeError for what is too long.
 */
export function sendDatagram(address: string, message: string, descriptor?: number): void {
  const base = libc();
  const isAbstract = address.startsWith('@');
  const name = Buffer.from(isAbstract ? `\0${address.slice(1)}` : `${address}\0`);
  const text = Buffer.from(message);
  if (name.length > AT.text - AT.address - 2 || text.length > AT.end - AT.text)
    throw new RangeError('the message or its address is too long');
  const { address: start, bytes } = cleanBlock();
  const pointer = (to: number, at: number) => bytes.writeBigUInt64LE(start + BigInt(to), at);
  bytes.writeUInt16LE(AF_UNIX, AT.address);
  name.copy(bytes, AT.address + 2);
  text.copy(bytes, AT.text);
  pointer(AT.text, AT.iovec);
  bytes.writeBigUInt64LE(BigInt(text.length), AT.iovec + 8);
  pointer(AT.address, AT.header);
  bytes.writeUInt32LE(2 + name.length, AT.header + 8);
  pointer(AT.iovec, AT.header + 16);
  bytes.writeBigUInt64LE(1n, AT.header + 24);
  if (descriptor !== undefined) {
    pointer(AT.control, AT.header + 32);
    bytes.writeBigUInt64LE(BigInt(CONTROL_SPACE), AT.header + 40);
    bytes.writeBigUInt64LE(BigInt(CONTROL_BYTES), AT.control);
    bytes.writeInt32LE(SOL_SOCKET, AT.control + 8);
    bytes.writeInt32LE(SCM_RIGHTS, AT.control + 12);
    bytes.writeInt32LE(descriptor, AT.control + 16);
  }
  const fd = base.made('socket', socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0));
  try {
    if (base.made('sendmsg', sendmsg(fd, start, MSG_NOSIGNAL)) !== text.length)
      throw new Error('a datagram was cut off');
  } finally {
    closeSync(fd);
  }
}
