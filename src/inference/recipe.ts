import { createHash } from 'node:crypto';
import { AppError, messageOf } from '../shared/errors.js';

/** Size in bytes and sha256 (hex) of a file. */
export interface FilePin {
  readonly size: number;
  readonly sha256: string;
}

/** Bytes `offset` to `offset + length` of the source, or literal bytes in base64. */
export type RecipePiece = readonly [offset: number, length: number] | string;

/**
 * Derives one file from another: the pieces, one after the other, are the result. A recipe is kept as JSON of this
 * form, some kilobytes for a model of many megabytes.
 */
export interface Recipe {
  readonly schema: 1;
  readonly source: FilePin;
  readonly result: FilePin;
  readonly pieces: readonly RecipePiece[];
}

/**
 * Reads a recipe's JSON.
 * @throws AppError `model_unloadable`
 */
export function parseRecipe(text: string): Recipe {
  let recipe: Partial<Recipe> | null;
  try {
    recipe = JSON.parse(text);
  } catch (cause) {
    throw invalid(`not JSON: ${messageOf(cause)}`, cause);
  }
  if (recipe?.schema !== 1) throw invalid('schema must be 1');
  const { source, result, pieces } = recipe;
  if (!isPin(source) || !isPin(result)) throw invalid('source and result must have a size and a sha256');
  if (!Array.isArray(pieces) || !pieces.every(isPiece)) {
    throw invalid('a piece must be [offset, length] or a base64 string');
  }
  return { schema: 1, source, result, pieces };
}

/** A protobuf message, which a graph is, has at most this many bytes. */
const MAX_RESULT = 2 ** 31;

/**
 * Derives the result in memory, which is taken only for as many bytes as the pieces have.
 * @param source the verified bytes that the recipe was made for
 * @returns bytes of the pinned size and digest, never others
 * @throws AppError `model_unloadable`
 */
export function applyRecipe(recipe: Recipe, source: Uint8Array): Uint8Array {
  if (source.length !== recipe.source.size) requirePin('source', source, recipe.source);
  if (recipe.result.size > MAX_RESULT) throw invalid(`its result has more than ${MAX_RESULT} bytes`);
  const most = recipe.pieces.reduce(
    (sum, piece) => sum + (typeof piece === 'string' ? piece.length : piece[1]),
    0,
  );
  if (most < recipe.result.size) {
    throw invalid(`its pieces have at most ${most} bytes, its result ${recipe.result.size}`);
  }
  const result = Buffer.allocUnsafeSlow(recipe.result.size);
  let size = 0;
  for (const [index, piece] of recipe.pieces.entries()) {
    const bytes = typeof piece === 'string' ? Buffer.from(piece, 'base64') : rangeOf(source, piece, index);
    if (size + bytes.length > result.length) throw invalid(`piece ${index} exceeds the size of the result`);
    result.set(bytes, size);
    size += bytes.length;
  }
  if (size < result.length) throw invalid(`its pieces have ${size} bytes, its result ${result.length}`);
  const { sha256 } = pinOf(result);
  // The result's digest alone decides, in half the time; the source's only explains.
  if (sha256 !== recipe.result.sha256) {
    requirePin('source', source, recipe.source);
    requirePin('result', result, recipe.result);
  }
  return result;
}

/** Returns the size and digest of `bytes`. */
export function pinOf(bytes: Uint8Array): FilePin {
  return { size: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
}

function rangeOf(source: Uint8Array, [offset, length]: readonly [number, number], index: number): Uint8Array {
  if (offset + length > source.length) throw invalid(`piece ${index} lies outside the source`);
  return source.subarray(offset, offset + length);
}

function requirePin(what: string, bytes: Uint8Array, pinned: FilePin): void {
  const { size, sha256 } = pinOf(bytes);
  if (size === pinned.size && sha256 === pinned.sha256) return;
  throw invalid(`the ${what} has ${size} bytes, sha256 ${sha256}; pinned: ${pinned.size}, ${pinned.sha256}`);
}

function isPin(value: unknown): value is FilePin {
  const { size, sha256 } = (value ?? {}) as Partial<FilePin>;
  return isCount(size) && typeof sha256 === 'string' && /^[0-9a-f]{64}$/.test(sha256);
}

function isPiece(value: unknown): value is RecipePiece {
  if (typeof value === 'string') return true;
  return Array.isArray(value) && value.length === 2 && value.every(isCount);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function invalid(why: string, cause?: unknown): AppError {
  return new AppError('model_unloadable', `the model's recipe does not apply: ${why}`, { cause });
}
