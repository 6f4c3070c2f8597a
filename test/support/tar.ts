/** An entry of an archive that a test writes; nothing in it has to make sense. */
export interface TarInput {
  path: string;
  content?: Uint8Array;
  /** The type flag. Default: `0`, a regular file. `1` hard link, `2` symbolic link, `3` device, `5` folder. */
  type?: string;
  /** Where a link points to. */
  link?: string;
  /** The size to announce. Default: that of `content`. */
  size?: number;
  /** Further PAX records. */
  pax?: Readonly<Record<string, string>>;
}

const BLOCK = 512;

/** Writes a tar archive, with its end mark unless `end` is `false`. */
export function tar(entries: readonly TarInput[], end = true): Buffer {
  const parts = entries.flatMap(entryOf);
  if (end) parts.push(Buffer.alloc(2 * BLOCK));
  return Buffer.concat(parts);
}

/** An archive of plain files. */
export function tarOf(files: Readonly<Record<string, Uint8Array>>): Buffer {
  return tar(Object.entries(files).map(([path, content]) => ({ path, content })));
}

function entryOf(entry: TarInput): Buffer[] {
  const { path, content = Buffer.alloc(0), type = '0', link = '', size = content.length } = entry;
  const records = Object.entries(entry.pax ?? {});
  const parts: Buffer[] = [];
  if (records.length > 0) {
    const body = Buffer.concat(records.map(([key, value]) => paxRecord(key, value)));
    parts.push(header('PaxHeader', body.length, 'x', ''), padded(body));
  }
  parts.push(header(path, size, type, link), padded(content));
  return parts;
}

function header(name: string, size: number, type: string, link: string): Buffer {
  const block = Buffer.alloc(BLOCK);
  block.write(name.slice(0, 100), 0);
  block.write('0000644\0', 100);
  block.write('0000000\0', 108);
  block.write('0000000\0', 116);
  block.write(`${size.toString(8).padStart(11, '0')}\0`, 124);
  block.write('00000000000\0', 136);
  block.write('        ', 148);
  block.write(type, 156);
  block.write(link.slice(0, 100), 157);
  block.write('ustar\x0000', 257);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return block;
}

function padded(content: Uint8Array): Buffer {
  return Buffer.concat([content, Buffer.alloc((BLOCK - (content.length % BLOCK)) % BLOCK)]);
}

/** A record begins with its own length, digits included. */
function paxRecord(key: string, value: string): Buffer {
  const rest = Buffer.byteLength(` ${key}=${value}\n`);
  let length = rest + 1;
  while (String(length).length + rest !== length) length = String(length).length + rest;
  return Buffer.from(`${length} ${key}=${value}\n`);
}
