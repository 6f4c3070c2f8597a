/** Every header and every run of content is padded to a multiple of this. */
export const BLOCK_BYTES = 512;

/** What one 512-byte header says. */
export interface TarHeader {
  readonly path: string;
  /** Bytes of content that follow; 0 for links, devices and folders, whatever their header says. */
  readonly size: number;
  readonly hasContent: boolean;
  /** The type flag: `0` regular file, `1` hard link, `2` symbolic link, `5` folder, `x` `g` `L` `K` metadata, … */
  readonly type: string;
}

/** Types that have no content, whatever their size field says. */
const WITHOUT_CONTENT = new Set(['1', '2', '3', '4', '5', '6']);

/** Reads a header block; `undefined` if it is none, which its checksum tells. */
export function parseTarHeader(block: Uint8Array): TarHeader | undefined {
  if (block.length !== BLOCK_BYTES || octal(block, 148, 8) !== checksum(block)) return undefined;
  const size = number(block, 124, 12);
  if (size === undefined) return undefined;
  const flag = String.fromCharCode(block[156] ?? 0);
  const type = flag === '\0' || flag === '7' ? '0' : flag;
  const name = text(block, 0, 100);
  // GNU writes "ustar  " and uses the place of the prefix for something else.
  const prefix = text(block, 257, 6) === 'ustar' ? text(block, 345, 155) : '';
  const path = prefix === '' ? name : `${prefix}/${name}`;
  const hasContent = !WITHOUT_CONTENT.has(type);
  return { path, size: hasContent ? size : 0, hasContent, type };
}

/** Whether a block is all zeros, as the two at the end of an archive are. */
export function isZeroBlock(block: Uint8Array): boolean {
  return block.every((byte) => byte === 0);
}

/** What a PAX header (`length key=value\n` …) overrides of the next entry. */
export function parsePax(bytes: Uint8Array): { path?: string; size?: number } {
  const records: { path?: string; size?: number } = {};
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  while (at < buffer.length) {
    const space = buffer.indexOf(0x20, at);
    const length = space < 0 ? Number.NaN : Number(buffer.toString('latin1', at, space));
    // A length that points backwards or nowhere would never come to an end.
    if (!Number.isSafeInteger(length) || length <= space - at || at + length > buffer.length) break;
    const record = buffer.toString('utf8', space + 1, at + length - 1);
    const equals = record.indexOf('=');
    const key = record.slice(0, equals);
    const value = record.slice(equals + 1);
    if (key === 'path') records.path = value;
    if (key === 'size' && /^\d{1,15}$/.test(value)) records.size = Number(value);
    at += length;
  }
  return records;
}

/** A field's text up to its first NUL. */
export function text(bytes: Uint8Array, start = 0, length = bytes.length): string {
  const field = Buffer.from(bytes.subarray(start, start + length));
  const end = field.indexOf(0);
  return field.toString('utf8', 0, end < 0 ? field.length : end);
}

/** A number in octal digits or, where those are too short (8 GiB), in binary with the top bit set. */
function number(block: Uint8Array, start: number, length: number): number | undefined {
  const first = block[start] ?? 0;
  if (first < 0x80) return octal(block, start, length);
  let value = first & 0x7f;
  for (const byte of block.subarray(start + 1, start + length)) value = value * 256 + byte;
  return Number.isSafeInteger(value) ? value : undefined;
}

function octal(block: Uint8Array, start: number, length: number): number | undefined {
  const digits = text(block, start, length).trim();
  return /^[0-7]*$/.test(digits) ? Number.parseInt(digits || '0', 8) : undefined;
}

function checksum(block: Uint8Array): number {
  let sum = 0;
  for (const [index, byte] of block.entries()) sum += index >= 148 && index < 156 ? 0x20 : byte;
  return sum;
}
