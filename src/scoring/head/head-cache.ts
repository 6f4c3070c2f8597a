import { messageOf } from '../../shared/errors.js';
import type { ByteStore } from '../vector-cache.js';
import { decodeHeads, encodeHeads, type HeadTable } from './head-codec.js';

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
const MOST_BYTES = 64 * 2 ** 20;

/** A cache over one file, which it reads anew each time and replaces as a whole. */
export function createHeadCache(store: ByteStore): HeadCache {
  const read = async (): Promise<{ table: HeadTable; fault?: string }> => {
    try {
      const bytes = await store.load();
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
        if (next.size >= KEPT || bytes > MOST_BYTES) break;
        next.set(other, encoded);
      }
      await store.save(encodeHeads(next));
    },
  };
}
