import ort from 'onnxruntime-node';
import type { EmbeddingSpec } from '../cache/manifest.js';
import { AppError } from '../shared/errors.js';
import {
  assemble,
  byteConstant,
  floatConstant,
  type GraphNode,
  isRange,
  makeNode,
  type OnnxModel,
  type Piece,
  parseOnnx,
  rewriteOnnx,
} from './onnx-graph.js';
import { pinOf, type Recipe } from './recipe.js';
import { createFromBytes } from './session.js';
import { createTokenizer } from './tokenizer.js';

/**
 * A dynamically quantized model scales activations by the largest value of a whole tensor, hence of a batch: a text's
 * vector depends on the texts beside it. Constant scales end that. They are measured on varied texts, and the weights
 * keep their bytes (docs/adr/0009).
 */

/** A model in memory as `makeFixedScalesRecipe` takes it. */
export interface DynamicModel {
  readonly spec: EmbeddingSpec;
  readonly model: Uint8Array;
  readonly tokenizer: Uint8Array;
  readonly tokenizerConfig: Uint8Array;
}

/** Range of values that the 256 steps of a tensor cover. */
interface Range {
  readonly low: number;
  readonly high: number;
}

/** Sample of a tensor: its extremes, and some values of each text. */
interface Sample {
  low: number;
  high: number;
  readonly texts: Float32Array[];
}

/** Values that each text gives to the choice of a tensor's range, from random places. */
const SAMPLE = 500;
/** Shares of the full range that are tried for each of its two ends: a tenth to all of it. */
const SHARES = Array.from({ length: 20 }, (_, index) => 10 ** (index / 19 - 1));

/**
 * Makes the recipe that replaces dynamic activation scales by constants.
 * @param texts for calibration: what never occurs in them is cut off
 * @throws AppError `model_unloadable` when the model has no dynamic scales, or has them in an unknown form
 */
export async function makeFixedScalesRecipe(source: DynamicModel, texts: readonly string[]): Promise<Recipe> {
  const model = parseOnnx(source.model);
  const tensors = model.nodes.filter(isDynamic).map(({ inputs: [input = ''] }) => input);
  if (tensors.length === 0) throw unsupported('it has no node DynamicQuantizeLinear');
  const tokenizer = createTokenizer(source.tokenizer, source.tokenizerConfig, source.spec);
  const rows = texts.map((text) => tokenizer.encode(text).ids);
  const pieces = fixScales(model, await calibrate(model, tensors, rows));
  const result = assemble(pieces, source.model);
  return {
    schema: 1,
    source: pinOf(source.model),
    result: pinOf(result),
    pieces: pieces.map((piece) => (isRange(piece) ? piece : Buffer.from(piece).toString('base64'))),
  };
}

/** Runs the texts, one at a time, and chooses a range for each tensor. */
async function calibrate(
  model: OnnxModel,
  tensors: readonly string[],
  rows: readonly (readonly number[])[],
): Promise<ReadonlyMap<string, Range>> {
  const session = await createFromBytes(assemble(rewriteOnnx(model, { outputs: tensors }), model.bytes), {
    executionProviders: ['cpu'],
    executionMode: 'sequential',
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
  });
  const samples = new Map(tensors.map((name): [string, Sample] => [name, { low: 0, high: 0, texts: [] }]));
  const random = randomNumbers();
  for (const row of rows) {
    // All outputs: asked for some, version 1.14 of the runtime gives their values under other names.
    const outputs = await session.run(feedsOf(session.inputNames, row));
    for (const [name, sample] of samples) {
      const values = outputs[name]?.data;
      if (!(values instanceof Float32Array)) throw unsupported(`${name} has no float values`);
      for (const value of values) {
        if (value < sample.low) sample.low = value;
        if (value > sample.high) sample.high = value;
      }
      const pick = () => values[Math.floor(random() * values.length)] ?? 0;
      sample.texts.push(Float32Array.from({ length: SAMPLE }, pick));
    }
  }
  return new Map([...samples].map(([name, sample]) => [name, closestRange(sample)]));
}

/** Inputs for a single row: all of it attended to, all of type 0. */
function feedsOf(names: readonly string[], row: readonly number[]): Record<string, ort.Tensor> {
  const inputs: Readonly<Record<string, BigInt64Array>> = {
    input_ids: BigInt64Array.from(row, BigInt),
    attention_mask: new BigInt64Array(row.length).fill(1n),
    token_type_ids: new BigInt64Array(row.length),
  };
  const tensor = (name: string) => new ort.Tensor('int64', inputs[name] ?? [], [1, row.length]);
  return Object.fromEntries(names.map((name) => [name, tensor(name)]));
}

/**
 * Finds the range whose 256 steps reproduce the values best: least mean over texts of the squared error as a share of
 * the text's variance. Without the share, a few texts with huge values would decide about all.
 */
function closestRange({ low, high, texts }: Sample): Range {
  const weights = texts.map((values) => 1 / (varianceOf(values) || 1));
  let best: Range = { low, high };
  let least = Number.POSITIVE_INFINITY;
  // The widest range first: it is close to the best one, so that most others are given up early.
  for (const below of SHARES.toReversed()) {
    for (const above of SHARES.toReversed()) {
      const range = { low: low * below, high: high * above };
      const { scale, zero } = stepsOf(range);
      let error = 0;
      for (const [index, values] of texts.entries()) {
        let squares = 0;
        for (const value of values) {
          const step = Math.min(255, Math.max(0, Math.round(value / scale) + zero));
          squares += ((step - zero) * scale - value) ** 2;
        }
        error += squares * (weights[index] ?? 1);
        if (error > least) break;
      }
      if (error <= least) [best, least] = [range, error];
    }
  }
  return best;
}

function varianceOf(values: Float32Array): number {
  let sum = 0;
  let squares = 0;
  for (const value of values) {
    sum += value;
    squares += value * value;
  }
  return squares / values.length - (sum / values.length) ** 2;
}

/** Numbers from 0 to 1, the same in each run. */
function randomNumbers(): () => number {
  let state = 1;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Four digits: what the last bits of a measured range are differs between processors. */
function stepsOf({ low, high }: Range): { scale: number; zero: number } {
  const scale = Math.fround(Number(((high - low) / 255).toPrecision(4)));
  return { scale, zero: Math.min(255, Math.max(0, Math.round(-low / scale))) };
}

/**
 * Each DynamicQuantizeLinear becomes a QuantizeLinear with constants. Each MatMulInteger with the Cast, the two Mul and
 * the Add of a bias after it becomes the one operator that the runtime makes of the dynamic form: it does not find
 * that form again once scales are constant, and takes a third longer for single texts.
 */
function fixScales(model: OnnxModel, ranges: ReadonlyMap<string, Range>): Piece[] {
  const links = new Links(model);
  const replaced = new Map<GraphNode, GraphNode | undefined>();
  const constants: Uint8Array[] = [];
  for (const node of model.nodes) {
    if (isDynamic(node)) {
      const [input = ''] = node.inputs;
      const [output = '', scaleName = '', zeroName = ''] = node.outputs;
      const { scale, zero } = stepsOf(ranges.get(input) ?? { low: 0, high: 0 });
      constants.push(floatConstant(scaleName, scale), byteConstant(zeroName, zero));
      const { name } = node;
      const inputs = [input, scaleName, zeroName];
      replaced.set(node, makeNode({ name, operator: 'QuantizeLinear', inputs, outputs: [output] }));
    } else if (node.operator === 'MatMulInteger') fuse(node, links, replaced);
  }
  const nodes = model.nodes.flatMap((node) => {
    const other = replaced.has(node) ? replaced.get(node) : node;
    return other ? [other] : [];
  });
  return rewriteOnnx(model, { nodes, constants, domain: 'com.microsoft' });
}

function fuse(product: GraphNode, links: Links, replaced: Map<GraphNode, GraphNode | undefined>): void {
  const [a = '', b = '', aZero = '', bZero = ''] = product.inputs;
  const cast = links.onlyUser(product, 'Cast');
  const scaled = links.onlyUser(cast, 'Mul');
  const scales = links.maker(
    scaled.inputs.find((name) => name !== cast.outputs[0]),
    'Mul',
  );
  const bScale = scales.inputs.find((name) => links.model.constants.has(name));
  const aScale = scales.inputs.find((name) => name !== bScale);
  if (aScale === undefined || bScale === undefined || aZero === '' || bZero === '')
    throw unsupported(`the scales of ${product.name} are in an unknown form`);
  const [add, ...more] = links.users(scaled);
  const bias =
    add?.operator === 'Add' && more.length === 0
      ? add.inputs.find((name) => links.model.constants.get(name) === 1)
      : undefined;
  for (const node of [cast, scaled, scales]) replaced.set(node, undefined);
  if (add && bias !== undefined) replaced.set(add, undefined);
  const fused = {
    name: product.name,
    operator: 'MatMulIntegerToFloat',
    inputs: [a, b, aScale, bScale, aZero, bZero, ...(bias === undefined ? [] : [bias])],
    outputs: add && bias !== undefined ? add.outputs : scaled.outputs,
  };
  replaced.set(product, makeNode(fused, 'com.microsoft'));
}

/** Producers and consumers of the tensors of a graph. */
class Links {
  readonly model: OnnxModel;
  readonly #makers = new Map<string, GraphNode>();
  readonly #users = new Map<string, GraphNode[]>();

  constructor(model: OnnxModel) {
    this.model = model;
    for (const node of model.nodes) {
      for (const name of node.outputs) this.#makers.set(name, node);
      for (const name of node.inputs) this.#users.set(name, [...(this.#users.get(name) ?? []), node]);
    }
  }

  users({ outputs: [output = ''] }: GraphNode): readonly GraphNode[] {
    return this.#users.get(output) ?? [];
  }

  onlyUser(node: GraphNode, operator: string): GraphNode {
    const [user, ...more] = this.users(node);
    if (user?.operator === operator && more.length === 0) return user;
    throw unsupported(`${node.name} is not followed by one ${operator}`);
  }

  maker(name: string | undefined, operator: string): GraphNode {
    const node = this.#makers.get(name ?? '');
    if (node?.operator === operator) return node;
    throw unsupported(`${name} is not made by a ${operator}`);
  }
}

function isDynamic({ operator }: GraphNode): boolean {
  return operator === 'DynamicQuantizeLinear';
}

function unsupported(why: string): AppError {
  return new AppError('model_unloadable', `activation scales of this model cannot be fixed: ${why}`);
}
