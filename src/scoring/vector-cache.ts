import { messageOf } from '../shared/errors.js';
import { decodeVectors, encodeVectors, textDigest, type VectorTable } from './vector-codec.js';

/** Vectors that outlive the process. A miss is never an error: the text is embedded again. */
export interface VectorCache {
  /** The vectors of those texts that are known, and why the stored ones could not be used, if so. */
  get(texts: Iterable<string>): Promise<CachedVectors>;
  /**
   * Keeps these vectors.
   * @throws what the store throws; nothing is lost but time
   */
  put(vectors: ReadonlyMap<string, Float32Array>): Promise<void>;
}

/** What {@link VectorCache.get} found. */
export interface CachedVectors {
  /** By text. */
  readonly vectors: ReadonlyMap<string, Float32Array>;
  readonly fault?: string;
}

/** Where one file's bytes are kept. `save` must be atomic: a reader sees the old or the new bytes. */
export interface ByteStore {
  /** `undefined` when nothing was saved yet. */
  load(): Promise<Uint8Array | undefined>;
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
 * A cache over one file. It holds nothing in memory between calls; a file that is damaged or belongs to
 * another model is named in `fault` and replaced by the next `put`.
 */
export function createVectorCache(store: ByteStore, options: VectorCacheOptions): VectorCache {
  const { modelKey, dimension } = options;
  const keepUnused = options.keepUnused ?? KEEP_UNUSED;

  const read = async (): Promise<{ table: VectorTable; fault?: string }> => {
    try {
      const bytes = await store.load();
      if (!bytes) return { table: new Map() };
      const decoded = decodeVectors(modelKey, dimension, bytes);
      return decoded.ok ? decoded : { table: new Map(), fault: decoded.fault };
    } catch (error) {
      return { table: new Map(), fault: `the stored vectors cannot be read: ${messageOf(error)}` };
    }
  };

  return {
    async get(texts) {
      const { table, fault } = await read();
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
      for (const [digest, vector] of (await read()).table) {
        if (room <= 0) break;
        if (next.has(digest)) continue;
        next.set(digest, vector);
        room -= 1;
      }
      await store.save(encodeVectors(modelKey, dimension, next));
    },
  };
}
