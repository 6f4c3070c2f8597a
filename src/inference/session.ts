import ort from 'onnxruntime-node';
import type { EmbeddingSpec } from '../cache/manifest.js';
import { AppError, messageOf } from '../shared/errors.js';

/** How a session runs. */
export interface SessionOptions {
  /** Threads of one forward pass. Default: 1, for a process runs one session and there is one per core. */
  readonly threads?: number;
}

/** A loaded ONNX graph that turns token ids into embeddings. */
export interface Session {
  /**
   * Runs one forward pass over all rows. Shorter rows are filled up with `padId`, which the attention mask
   * hides, though not from dynamic quantization: a model with `batch_sensitive` gets one row at a time.
   * Calls must not overlap.
   * @param rows token ids with special tokens, none of them empty
   * @returns one vector of the model's dimension per row, in order, of length 1 where the spec says `normalize`
   * @throws AppError `model_unloadable` when the output has another shape than the spec says;
   *   whatever the runtime throws
   */
  embed(rows: readonly (readonly number[])[], padId?: number): Promise<Float32Array[]>;
}

/** The inputs that a sentence encoder may have; a graph that declares another one is refused. */
const INPUTS = ['input_ids', 'attention_mask', 'token_type_ids'];

/**
 * Loads the graph from the verified buffer itself; the runtime copies what it needs, so the buffer may go.
 * @throws AppError `model_unloadable`
 */
export async function createSession(
  model: Uint8Array,
  spec: EmbeddingSpec,
  options: SessionOptions = {},
): Promise<Session> {
  let session: ort.InferenceSession;
  try {
    session = await createFromBytes(model, {
      executionProviders: ['cpu'],
      executionMode: 'sequential',
      intraOpNumThreads: options.threads ?? 1,
      interOpNumThreads: 1,
      // A plan of memory for each shape of input, of which batches have hundreds, saves no time that could be measured,
      // and takes 4 to 9 MB of each worker: blocks of so many sizes leave holes.
      enableMemPattern: false,
    });
  } catch (cause) {
    throw new AppError('model_unloadable', `the runtime refused the model: ${messageOf(cause)}`, { cause });
  }
  const unknown = session.inputNames.filter((name) => !INPUTS.includes(name));
  if (unknown.length > 0 || !session.inputNames.includes('input_ids')) {
    throw new AppError(
      'model_unloadable',
      `no sentence encoder: its inputs are ${session.inputNames.join(', ')}`,
    );
  }
  const outputName =
    session.outputNames.find((name) => name === 'last_hidden_state') ?? session.outputNames[0];
  if (outputName === undefined) throw new AppError('model_unloadable', 'the model has no output');

  const inputs = new InputBuffers();
  return {
    async embed(rows, padId = 0) {
      const length = rows.reduce((longest, row) => Math.max(longest, row.length), 0);
      const all = inputs.fill(rows, length, padId);
      const feeds: Record<string, ort.Tensor> = {};
      for (const name of session.inputNames) {
        const values = all[name];
        if (values) feeds[name] = new ort.Tensor('int64', values, [rows.length, length]);
      }
      const output = (await session.run(feeds, [outputName]))[outputName];
      const expected = [rows.length, length, spec.dimension];
      if (!(output?.data instanceof Float32Array) || output.dims.join() !== expected.join()) {
        throw new AppError(
          'model_unloadable',
          `the model's output is ${output?.type ?? 'absent'} [${output?.dims.join() ?? ''}], not float32 [${expected.join()}]`,
        );
      }
      const hidden = output.data;
      return rows.map((row, index) => {
        const offset = index * length * spec.dimension;
        return pool(hidden.subarray(offset, offset + row.length * spec.dimension), spec);
      });
    },
  };
}

/**
 * Version 1.14 of the runtime looks for the options of a session that is made from bytes in the wrong argument:
 * the number that says where the bytes begin. It thus ignores them, and each session takes all cores and spins on
 * them, which halves the throughput of several. What every number inherits is found there, though; so for as long
 * as the call takes, numbers inherit the options. (A path's options are honoured, but the verified bytes have
 * none; later versions download at install and do not work with the tokenizers' package.)
 */
export async function createFromBytes(
  model: Uint8Array,
  options: ort.InferenceSession.SessionOptions,
): Promise<ort.InferenceSession> {
  for (const [name, value] of Object.entries(options)) {
    Object.defineProperty(Number.prototype, name, { value, configurable: true });
  }
  try {
    return await ort.InferenceSession.create(model, options);
  } finally {
    for (const name of Object.keys(options)) Reflect.deleteProperty(Number.prototype, name);
  }
}

/** The input arrays, kept from pass to pass and only ever enlarged. */
class InputBuffers {
  #capacity = 0;
  #ids = new BigInt64Array(0);
  #mask = new BigInt64Array(0);
  #types = new BigInt64Array(0);

  /** The inputs by name, row after row of `length`, valid until the next call. */
  fill(rows: readonly (readonly number[])[], length: number, padId: number): Record<string, BigInt64Array> {
    const size = rows.length * length;
    if (size > this.#capacity) {
      this.#capacity = size;
      this.#ids = new BigInt64Array(size);
      this.#mask = new BigInt64Array(size);
      // One sequence per text, never a pair: all of it is of type 0.
      this.#types = new BigInt64Array(size);
    }
    this.#ids.fill(BigInt(padId), 0, size);
    this.#mask.fill(0n, 0, size);
    for (const [index, row] of rows.entries()) {
      const start = index * length;
      for (let position = 0; position < row.length; position += 1) {
        this.#ids[start + position] = BigInt(row[position] ?? padId);
      }
      this.#mask.fill(1n, start, start + row.length);
    }
    return {
      input_ids: this.#ids.subarray(0, size),
      attention_mask: this.#mask.subarray(0, size),
      token_type_ids: this.#types.subarray(0, size),
    };
  }
}

/** One vector from the hidden states of a text's own tokens, `[tokens × dimension]`, padding excluded. */
function pool(hidden: Float32Array, spec: EmbeddingSpec): Float32Array {
  const { dimension } = spec;
  const vector =
    spec.pooling === 'cls' ? hidden.slice(0, dimension) : mean(hidden, hidden.length / dimension, dimension);
  if (spec.normalize) scaleToLengthOne(vector);
  return vector;
}

function mean(hidden: Float32Array, tokens: number, dimension: number): Float32Array {
  // Summed in double precision, so that 256 tokens lose nothing.
  const sum = new Float64Array(dimension);
  for (let token = 0, at = 0; token < tokens; token += 1) {
    for (let index = 0; index < dimension; index += 1, at += 1) {
      sum[index] = (sum[index] ?? 0) + (hidden[at] ?? 0);
    }
  }
  const vector = new Float32Array(dimension);
  for (let index = 0; index < dimension; index += 1) vector[index] = (sum[index] ?? 0) / tokens;
  return vector;
}

function scaleToLengthOne(vector: Float32Array): void {
  let squares = 0;
  for (const value of vector) squares += value * value;
  const length = Math.sqrt(squares);
  if (length === 0) return;
  for (let index = 0; index < vector.length; index += 1) vector[index] = (vector[index] ?? 0) / length;
}
