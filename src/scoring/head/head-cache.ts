import { createHash } from 'node:crypto';
import { endianness } from 'node:os';
import * as z from 'zod';
import { messageOf } from '../../shared/errors.js';
import type { ByteStore } from '../vector-cache.js';
import type { Head } from './fit.js';
import { WORD_BUCKETS, type WordModel } from './words.js';

/** Trained heads that outlive the process. A miss is never an error: the head is trained again. */
export interface HeadCache {
  /** The encoded head of a key, and why the stored ones could not be used, if so. */
  get(key: string): Promise<{ readonly head?: Uint8Array; readonly fault?: string }>;
  /**
   * Keeps a head.
   * @throws what the store throws; nothing is lost but time
   */
  put(key: string, head: Uint8Array): Promise<void>;
}

/** Heads that stay, the latest first: undoing an edit should train nothing. */
const KEPT = 8;
/** Bytes that they may have together; the latest always stays. */
const MAX_BYTES = 32 * 2 ** 20;
/** Bytes of a file: those, and one head of the largest set. */
const MAX_FILE_BYTES = MAX_BYTES + 32 * 2 ** 20;

/** A cache over one file, which it reads anew each time and replaces as a whole. */
export function createHeadCache(store: ByteStore): HeadCache {
  const read = async (): Promise<{ table: HeadTable; fault?: string }> => {
    try {
      const bytes = await store.load(MAX_FILE_BYTES);
      if (!bytes) return { table: new Map() };
      const decoded = decodeHeads(bytes);
      return decoded.ok ? decoded : { table: new Map(), fault: decoded.fault };
    } catch (error) {
      return { table: new Map(), fault: `the stored heads cannot be read: ${messageOf(error)}` };
    }
  };
  return {
    async get(key) {
      const { table, fault } = await read();
      const head = table.get(key);
      return { ...(head && { head }), ...(fault !== undefined && { fault }) };
    },
    async put(key, head) {
      const next = new Map([[key, head]]);
      let bytes = head.length;
      for (const [other, encoded] of (await read()).table) {
        if (next.has(other)) continue;
        bytes += encoded.length;
        if (next.size >= KEPT || bytes > MAX_BYTES) break;
        next.set(other, encoded);
      }
      await store.save(encodeHeads(next));
    },
  };
}

const MAGIC = Buffer.from('AIRH');
/** To be raised with any change of the layout. */
const FORMAT = 1;
const DIGEST_BYTES = 32;
/** Magic, format and count as 4 bytes each. */
const FILE_HEADER_BYTES = 12;
/** Key, then the length of the head as 4 bytes. */
const ENTRY_HEADER_BYTES = DIGEST_BYTES + 4;

/** Encoded heads by their key (sha256 in hex), the latest first. */
export type HeadTable = ReadonlyMap<string, Uint8Array>;

/** Content of a file, or why it cannot be used. */
export type DecodedHeads =
  | { readonly ok: true; readonly table: HeadTable }
  | { readonly ok: false; readonly fault: string };

/**
 * A head as bytes: the length of its numbers as JSON, these, and its arrays, little-endian. Equal heads give equal bytes.
 */
export function encodeHead(head: Head): Uint8Array {
  const { weights, words, ...numbers } = head;
  const { masses, buckets, idf, offsets, owners, gains, ...counts } = words;
  const sizes = { features: buckets.length, entries: owners.length };
  const json = Buffer.from(JSON.stringify({ ...numbers, words: { ...counts, ...sizes } }));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(json.length);
  const arrays = [weights, masses, buckets, idf, offsets, gains, owners];
  return Buffer.concat([length, json, ...arrays.map(bytesOf)]);
}

/** The numbers of a head, which come from the volume. */
const numbersSchema = z.strictObject({
  routes: z.int().min(1),
  dimension: z.int().min(1),
  none: z.boolean(),
  cost: z.number().positive(),
  blend: z.strictObject({ logit: z.number(), similarity: z.number(), words: z.number().nonnegative() }),
  calibration: z.strictObject({
    head: z.number().nonnegative(),
    logit: z.number().nonnegative(),
    similarity: z.number().nonnegative(),
    bias: z.number(),
  }),
  mostLogOdds: z.number(),
  floor: z.strictObject({ at: z.number(), width: z.number().positive() }),
  threshold: z.number().min(0).max(1),
  words: z.strictObject({
    routes: z.int().min(1),
    unknown: z.number().positive(),
    features: z.int().min(0).max(WORD_BUCKETS),
    entries: z.int().min(0),
  }),
});

/**
 * Reads what {@link encodeHead} wrote. A checksum vouches for nothing, as a process that writes to the volume makes
 * one as well: a head counts only when it is one of this shape, with finite numbers.
 * @throws Error saying what is wrong
 */
export function decodeHead(encoded: Uint8Array, shape: Pick<Head, 'routes' | 'dimension' | 'none'>): Head {
  const bytes = Buffer.from(encoded.buffer, encoded.byteOffset, encoded.byteLength);
  const { routes, dimension, none } = shape;
  const wrongLength = 'the stored head has another length than the set asks for';
  let at = 4 + (bytes.length < 4 ? 0 : bytes.readUInt32LE(0));
  if (bytes.length < at) throw new Error(wrongLength);
  const { words, ...numbers } = numbersSchema.parse(JSON.parse(bytes.toString('utf8', 4, at)));
  const isOther = [numbers, words].some((each) => each.routes !== routes);
  if (isOther || numbers.dimension !== dimension || numbers.none !== none)
    throw new Error('the stored head is of another set');
  const { features, entries, ...counts } = words;
  const lengths = [routes * (dimension + 1), routes, features, features, features + 1, entries];
  if (bytes.length !== at + 4 * lengths.reduce((sum, length) => sum + length, 0) + 2 * entries)
    throw new Error(wrongLength);
  // Copied, because views need an alignment that the file's buffer does not promise.
  const take = (count: number, size: 2 | 4): ArrayBuffer => {
    const part = Uint8Array.from(bytes.subarray(at, at + count * size));
    at += count * size;
    littleEndian(Buffer.from(part.buffer), size);
    return part.buffer;
  };
  const [weights, masses, buckets, idf, offsets, gains] = lengths.map((length) => take(length, 4));
  const head = {
    ...numbers,
    weights: new Float32Array(weights as ArrayBuffer),
    words: {
      ...counts,
      masses: new Float32Array(masses as ArrayBuffer),
      buckets: new Uint32Array(buckets as ArrayBuffer),
      idf: new Float32Array(idf as ArrayBuffer),
      offsets: new Uint32Array(offsets as ArrayBuffer),
      gains: new Float32Array(gains as ArrayBuffer),
      owners: new Uint16Array(take(entries, 2)),
    },
  };
  const { words: model } = head;
  for (const floats of [head.weights, model.masses, model.idf, model.gains]) {
    if (!floats.every(Number.isFinite)) throw new Error('the stored head has weights that are no numbers');
  }
  if (!isSound(model)) throw new Error('the stored head has words that lead nowhere');
  return head;
}

/** Whether every index of a word model leads to something. */
function isSound({ routes, buckets, offsets, owners }: WordModel): boolean {
  const ascends = offsets.every((offset, i) => offset >= (offsets[i - 1] ?? 0));
  return (
    ascends &&
    offsets.at(-1) === owners.length &&
    owners.every((route) => route < routes) &&
    buckets.every((bucket) => bucket < WORD_BUCKETS)
  );
}

/** `sha256:<hex>` of an encoded head. */
export function headDigest(encoded: Uint8Array): string {
  return `sha256:${createHash('sha256').update(encoded).digest('hex')}`;
}

/** Writes a table as: header, entries, and the sha256 of all that. */
export function encodeHeads(table: HeadTable): Uint8Array {
  const header = Buffer.alloc(FILE_HEADER_BYTES);
  MAGIC.copy(header, 0);
  header.writeUInt32LE(FORMAT, 4);
  header.writeUInt32LE(table.size, 8);
  const parts: Uint8Array[] = [header];
  for (const [key, head] of table) {
    const entry = Buffer.alloc(ENTRY_HEADER_BYTES);
    entry.write(key, 0, 'hex');
    entry.writeUInt32LE(head.length, DIGEST_BYTES);
    parts.push(entry, head);
  }
  const content = Buffer.concat(parts);
  return Buffer.concat([content, createHash('sha256').update(content).digest()]);
}

/** Reads what {@link encodeHeads} wrote; nothing is taken from a file whose checksum differs. */
export function decodeHeads(file: Uint8Array): DecodedHeads {
  const bytes = Buffer.from(file.buffer, file.byteOffset, file.byteLength);
  const fault = (reason: string): DecodedHeads => ({ ok: false, fault: `the stored heads ${reason}` });
  if (bytes.length < FILE_HEADER_BYTES + DIGEST_BYTES) return fault('are cut off');
  const content = bytes.subarray(0, -DIGEST_BYTES);
  if (!createHash('sha256').update(content).digest().equals(bytes.subarray(-DIGEST_BYTES))) {
    return fault('do not match their checksum');
  }
  if (!content.subarray(0, 4).equals(MAGIC)) return fault('are no file of heads');
  if (content.readUInt32LE(4) !== FORMAT) return fault('have another format');
  const table = new Map<string, Uint8Array>();
  let at = FILE_HEADER_BYTES;
  for (let index = content.readUInt32LE(8); index > 0; index -= 1) {
    const start = at + ENTRY_HEADER_BYTES;
    if (start > content.length) return fault('are fewer than their header says');
    const end = start + content.readUInt32LE(at + DIGEST_BYTES);
    if (end > content.length) return fault('are shorter than their header says');
    table.set(content.toString('hex', at, at + DIGEST_BYTES), content.subarray(start, end));
    at = end;
  }
  return { ok: true, table };
}

/** The numbers of an array, little-endian. */
function bytesOf(numbers: Float32Array | Uint32Array | Uint16Array): Buffer {
  return littleEndian(Buffer.from(numbers.slice().buffer), numbers.BYTES_PER_ELEMENT);
}

/** Swaps in place where this machine is big-endian. */
function littleEndian(bytes: Buffer, size: number): Buffer {
  if (endianness() === 'LE') return bytes;
  return size === 2 ? bytes.swap16() : bytes.swap32();
}
