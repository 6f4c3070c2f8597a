import { createHash } from 'node:crypto';
import { BACKGROUND } from './background.js';

const DIGEST_BYTES = 32;
const MOST = 127;

/**
 * Vectors of the background texts as bytes: what they were made from and of (a sha256), the vectors with 8
 * bits a number, and the sha256 of all that. Their length is 1, so no scale is kept. 8 bits leave a cosine of 0.9999.
 * @param manifestDigest of the model that made them
 * @param vectors one for each of `BACKGROUND`
 */
export function encodeBackground(manifestDigest: string, vectors: readonly Float32Array[]): Uint8Array {
  const rows = vectors.map((vector) => {
    const scale = vector.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / MOST;
    return Int8Array.from(vector, (value) => Math.round(value / scale));
  });
  const content = Buffer.concat([keyOf(manifestDigest), ...rows.map((row) => Buffer.from(row.buffer))]);
  return Buffer.concat([content, sha256(content)]);
}

/**
 * Reads what {@link encodeBackground} wrote.
 * @returns texts × dimension, each of length 1; `undefined` if they are of another model, of other texts or damaged
 */
export function decodeBackground(
  file: Uint8Array,
  manifestDigest: string,
  dimension: number,
): Float32Array | undefined {
  const bytes = Buffer.from(file.buffer, file.byteOffset, file.byteLength);
  if (bytes.length !== 2 * DIGEST_BYTES + BACKGROUND.length * dimension) return undefined;
  if (!bytes.subarray(0, DIGEST_BYTES).equals(keyOf(manifestDigest))) return undefined;
  if (!bytes.subarray(-DIGEST_BYTES).equals(sha256(bytes.subarray(0, -DIGEST_BYTES)))) return undefined;
  const vectors = new Float32Array(BACKGROUND.length * dimension);
  for (let row = 0; row < BACKGROUND.length; row += 1) {
    const values = new Int8Array(bytes.buffer, bytes.byteOffset + DIGEST_BYTES + row * dimension, dimension);
    let squares = 0;
    for (let i = 0; i < dimension; i += 1) squares += (values[i] ?? 0) ** 2;
    const length = Math.sqrt(squares);
    for (let i = 0; i < dimension; i += 1) vectors[row * dimension + i] = (values[i] ?? 0) / length;
  }
  return vectors;
}

function keyOf(manifestDigest: string): Buffer {
  return sha256(Buffer.from([manifestDigest, ...BACKGROUND].join('\n')));
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}
