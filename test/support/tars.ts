/** Tars as nobody's tar program writes them: headers field by field, with a right checksum. */
import { Buffer } from 'node:buffer';

export interface MemberFields {
  readonly name: string | Buffer;
  readonly typeflag?: string;
  /** Raw contents of the octal fields; by default what is usual. */
  readonly mode?: string;
  readonly uid?: string | Buffer;
  readonly size?: string | Buffer;
  readonly linkname?: string;
  readonly data?: Buffer | string;
  readonly magic?: string;
}

/** One member: header and contents, padded. */
export function member(fields: MemberFields): Buffer {
  const data = Buffer.from(fields.data ?? '');
  const header = Buffer.alloc(512);
  const put = (value: string | Buffer, at: number) => Buffer.from(value).copy(header, at);
  put(fields.name, 0);
  put(fields.mode ?? '0000644', 100);
  put(fields.uid ?? '0000000', 108);
  put('0000000', 116);
  put(fields.size ?? data.length.toString(8).padStart(11, '0'), 124);
  put('00000000000', 136);
  put(fields.typeflag ?? '0', 156);
  put(fields.linkname ?? '', 157);
  put(fields.magic ?? 'ustar\x0000', 257);
  header.fill(0x20, 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  put(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return Buffer.concat([header, data, Buffer.alloc((512 - (data.length % 512)) % 512)]);
}

/** An extended header for the next member ("x") or all that follow ("g"). */
export function pax(records: Readonly<Record<string, string | Buffer>>, typeflag = 'x'): Buffer {
  const lines = Object.entries(records).map(([key, value]) => {
    const rest = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value), Buffer.from('\n')]);
    let length = rest.length;
    while (length !== rest.length + String(length).length) length = rest.length + String(length).length;
    return Buffer.concat([Buffer.from(String(length)), rest]);
  });
  return member({ name: 'PaxHeader', typeflag, data: Buffer.concat(lines) });
}

/** A whole tar: members, then the marker. */
export function tarOf(...members: readonly Buffer[]): Buffer {
  return Buffer.concat([...members, Buffer.alloc(1024)]);
}
