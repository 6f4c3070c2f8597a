import { createHash } from 'node:crypto';
import { endianness } from 'node:os';
import { messageOf } from '../shared/errors.js';

/** Vectors that outlive the process. A miss is never an error: the text is embedded again. */
export interface VectorCache {
  /**
   * The vectors of those texts that are known, and why the stored ones could not be used, if so.
   * @param setSize texts of the whole set, which bounds how large a file is read
   */
  get(texts: readonly string[], setSize?: number): Promise<CachedVectors>;
  /**
   * Keeps these vectors.
   * @throws what the store throws; nothing is lost but time
   */
  put(vectors: ReadonlyMap<string, Float32Array>): Promise<void>;
}

/** Result of {@link VectorCache.get}. */
export interface CachedVectors {
  /** By text. */
  readonly vectors: ReadonlyMap<string, Float32Array>;
  readonly fault?: string;
}

/** Where one file's bytes are kept. `save` must be atomic: a reader sees the old or the new bytes. */
export interface ByteStore {
  /**
   * `undefined` when nothing was saved yet.
   * @throws Error when there are more than `maxBytes`, which are not read
   */
  load(maxBytes: number): Promise<Uint8Array | undefined>;
  save(bytes: Uint8Array): Promise<void>;
}

/** Options of {@link createVectorCache}. */
export interface VectorCacheOptions {
  /**
   * Whatever decides about the vectors: the model's digest, and the runtime that computes with it. Vectors
   * saved under another key are not used.
   */
  readonly modelKey: string;
  /** Length of the vectors. */
  readonly dimension: number;
  /**
   * How many vectors stay that the latest set does not use, the most recent first: undoing an edit should
   * cost nothing, but the file must not grow for ever. Default: 2,000.
   */
  readonly keepUnused?: number;
}

const KEEP_UNUSED = 2_000;

/**
 * Rows of a file that are read for a set: enough for what a larger set before it left behind, and no more, whatever
 * else may stand there.
 */
const MAX_ROWS = { least: 20_000, perText: 4 } as const;

/**
 * A cache over one file. It holds nothing in memory between calls; a file that is damaged or belongs to
 * another model is named in `fault` and replaced by the next `put`.
 */
export function createVectorCache(store: ByteStore, options: VectorCacheOptions): VectorCache {
  const { modelKey, dimension } = options;
  const keepUnused = options.keepUnused ?? KEEP_UNUSED;

  const read = async (setSize: number): Promise<{ table: VectorTable; fault?: string }> => {
    const rows = Math.max(MAX_ROWS.least, MAX_ROWS.perText * setSize) + keepUnused;
    try {
      const bytes = await store.load(fileBytes(rows, dimension));
      if (!bytes) return { table: new Map() };
      const decoded = decodeVectors(modelKey, dimension, bytes);
      return decoded.ok ? decoded : { table: new Map(), fault: decoded.fault };
    } catch (error) {
      return { table: new Map(), fault: `the stored vectors cannot be read: ${messageOf(error)}` };
    }
  };

  return {
    async get(texts, setSize = texts.length) {
      const { table, fault } = await read(setSize);
      const vectors = new Map<string, Float32Array>();
      if (table.size > 0) {
        for (const text of texts) {
          const vector = table.get(textDigest(text));
          if (vector) vectors.set(text, vector);
        }
      }
      return fault === undefined ? { vectors } : { vectors, fault };
    },

    async put(vectors) {
      const next = new Map<string, Float32Array>();
      for (const [text, vector] of vectors) next.set(textDigest(text), vector);
      let room = keepUnused;
      for (const [digest, vector] of (await read(vectors.size)).table) {
        if (room <= 0) break;
        if (next.has(digest)) continue;
        next.set(digest, vector);
        room -= 1;
      }
      await store.save(encodeVectors(modelKey, dimension, next));
    },
  };
}

const MAGIC = Buffer.from('AIRV');
/** To be raised with any change of the layout. */
const FORMAT = 1;
const DIGEST_BYTES = 32;
/** Magic, format, dimension and count as 4 bytes each, then the digest of the model key. */
const HEADER_BYTES = 16 + DIGEST_BYTES;
/** By how much the squared length of a vector may differ from 1. */
const LENGTH_TOLERANCE = 1e-2;

/** Bytes of a file with so many vectors. */
function fileBytes(rows: number, dimension: number): number {
  return HEADER_BYTES + rows * (DIGEST_BYTES + 4 * dimension) + DIGEST_BYTES;
}

/** Vectors by the digest of their text, in the order in which they are kept. */
export type VectorTable = ReadonlyMap<string, Float32Array>;

/** Content of a file, or why it cannot be used. */
export type DecodedVectors =
  | { readonly ok: true; readonly table: VectorTable }
  | { readonly ok: false; readonly fault: string };

/** The key of a text in a {@link VectorTable}: its sha256 in hex. */
export function textDigest(text: string): string {
  return createHash('sha256').update(text, 'utf8').digest('hex');
}

/**
 * Writes a table as: header, the texts' digests, the vectors as little-endian float32, and the sha256 of
 * all that.
 * @param modelKey whatever decides about the vectors: the model's digest, and the runtime's version
 */
export function encodeVectors(modelKey: string, dimension: number, table: VectorTable): Uint8Array {
  const vectorBytes = dimension * 4;
  const digestsAt = HEADER_BYTES;
  const vectorsAt = digestsAt + table.size * DIGEST_BYTES;
  const bytes = Buffer.alloc(vectorsAt + table.size * vectorBytes + DIGEST_BYTES);
  MAGIC.copy(bytes, 0);
  bytes.writeUInt32LE(FORMAT, 4);
  bytes.writeUInt32LE(dimension, 8);
  bytes.writeUInt32LE(table.size, 12);
  sha256(Buffer.from(modelKey)).copy(bytes, 16);
  let index = 0;
  for (const [digest, vector] of table) {
    bytes.write(digest, digestsAt + index * DIGEST_BYTES, 'hex');
    littleEndian(Buffer.from(vector.slice().buffer)).copy(bytes, vectorsAt + index * vectorBytes);
    index += 1;
  }
  sha256(bytes.subarray(0, -DIGEST_BYTES)).copy(bytes, bytes.length - DIGEST_BYTES);
  return bytes;
}

/**
 * Reads what {@link encodeVectors} wrote. Nothing is taken from a file whose checksum, model or dimension
 * differs: embedding again is cheap, a wrong vector is a wrong answer.
 */
export function decodeVectors(modelKey: string, dimension: number, file: Uint8Array): DecodedVectors {
  const bytes = Buffer.from(file.buffer, file.byteOffset, file.byteLength);
  const fault = (reason: string): DecodedVectors => ({ ok: false, fault: `the stored vectors ${reason}` });
  if (bytes.length < HEADER_BYTES + DIGEST_BYTES) return fault('are cut off');
  if (!bytes.subarray(0, 4).equals(MAGIC)) return fault('are not a vector file');
  if (bytes.readUInt32LE(4) !== FORMAT) return fault('have another format');
  if (!sha256(bytes.subarray(0, -DIGEST_BYTES)).equals(bytes.subarray(-DIGEST_BYTES))) {
    return fault('do not match their checksum');
  }
  if (!sha256(Buffer.from(modelKey)).equals(bytes.subarray(16, HEADER_BYTES)))
    return fault('are of another model');
  if (bytes.readUInt32LE(8) !== dimension) return fault('have another dimension');
  const count = bytes.readUInt32LE(12);
  if (bytes.length !== fileBytes(count, dimension)) {
    return fault('have another length than their header says');
  }
  const vectorsAt = HEADER_BYTES + count * DIGEST_BYTES;
  // Copied once, because float32 views need an alignment that the file's buffer does not promise.
  const floats = littleEndian(Buffer.from(Uint8Array.from(bytes.subarray(vectorsAt, -DIGEST_BYTES)).buffer));
  const all = new Float32Array(floats.buffer, floats.byteOffset, count * dimension);
  for (let at = 0; at < all.length; at += dimension) {
    let squares = 0;
    for (let i = at; i < at + dimension; i += 1) squares += (all[i] as number) ** 2;
    // Also false where it is not a number.
    if (!(Math.abs(squares - 1) < LENGTH_TOLERANCE)) return fault('hold a vector whose length is not 1');
  }
  const table = new Map<string, Float32Array>();
  for (let index = 0; index < count; index += 1) {
    const at = HEADER_BYTES + index * DIGEST_BYTES;
    const digest = bytes.toString('hex', at, at + DIGEST_BYTES);
    table.set(digest, all.subarray(index * dimension, (index + 1) * dimension));
  }
  return { ok: true, table };
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}

/** Swaps in place where this machine is big-endian. */
function littleEndian(floats: Buffer): Buffer {
  return endianness() === 'BE' ? floats.swap32() : floats;
}
