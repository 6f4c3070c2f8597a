import { AppError } from '../shared/errors.js';

/**
 * The little of the ONNX format that a change of a graph's nodes takes. What a rewrite keeps is named by its place in
 * the source instead of copied, so that the result is a list of pieces: a recipe as it stands, and megabytes of weights
 * are never moved.
 */

/** A range of the source, or new bytes. */
export type Piece = readonly [offset: number, length: number] | Uint8Array;

/** One operator of a graph. `pieces` is its whole field in the graph. */
export interface GraphNode {
  readonly name: string;
  readonly operator: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly pieces: readonly Piece[];
}

/** A model file, parsed as far as its nodes and the names of its constants. */
export interface OnnxModel {
  readonly bytes: Uint8Array;
  readonly nodes: readonly GraphNode[];
  /** Number of dimensions of each constant, by name. */
  readonly constants: ReadonlyMap<string, number>;
}

/** Changes of a model; whatever they do not name stays as it is. */
export interface Rewrite {
  /** All nodes of the new graph, in order of execution. */
  readonly nodes?: readonly GraphNode[];
  /** New constants, as `floatConstant` and `byteConstant` give them. */
  readonly constants?: readonly Uint8Array[];
  /** Names of float tensors that become outputs as well. */
  readonly outputs?: readonly string[];
  /** Operator domain that the new nodes need besides those of the source, in version 1. */
  readonly domain?: string;
}

/** Field numbers of the messages in onnx.proto. */
const MODEL = { graph: 7, opsetImport: 8 } as const;
const OPSET = { domain: 1, version: 2 } as const;
const GRAPH = { node: 1, initializer: 5, output: 12 } as const;
const NODE = { input: 1, output: 2, name: 3, operator: 4, domain: 7 } as const;
const TENSOR = { dims: 1, dataType: 2, name: 8, rawData: 9 } as const;
const VALUE = { name: 1, type: 2 } as const;
/** `TypeProto.tensor_type` and its `elem_type`, both field 1. */
const FIRST = 1;
const FLOAT = 1;
const UINT8 = 2;

/**
 * Parses a model.
 * @throws AppError `model_unloadable` when the bytes are no ONNX model
 */
export function parseOnnx(bytes: Uint8Array): OnnxModel {
  const graph = graphOf(bytes);
  const fields = fieldsOf(bytes, graph.start, graph.end);
  const nodes = fields.filter(({ number }) => number === GRAPH.node).map((field) => nodeOf(bytes, field));
  const constants = new Map<string, number>();
  for (const { number, start, end } of fields) {
    if (number !== GRAPH.initializer) continue;
    const tensor = fieldsOf(bytes, start, end);
    // Written one by one or packed into one field of one-byte or longer numbers.
    const dims = tensor.filter((field) => field.number === TENSOR.dims);
    const rank = dims.reduce((sum, dim) => sum + (dim.wire === 2 ? countVarints(bytes, dim) : 1), 0);
    constants.set(textsOf(bytes, tensor, TENSOR.name)[0] ?? '', rank);
  }
  return { bytes, nodes, constants };
}

/** Makes a new node without attributes. */
export function makeNode(node: Omit<GraphNode, 'pieces'>, domain = ''): GraphNode {
  const content = [
    ...node.inputs.map((name) => textField(NODE.input, name)),
    ...node.outputs.map((name) => textField(NODE.output, name)),
    textField(NODE.name, node.name),
    textField(NODE.operator, node.operator),
    ...(domain === '' ? [] : [textField(NODE.domain, domain)]),
  ];
  return { ...node, pieces: [bytesField(GRAPH.node, Buffer.concat(content))] };
}

/** Makes a scalar constant of type float. */
export function floatConstant(name: string, value: number): Uint8Array {
  const raw = Buffer.alloc(4);
  raw.writeFloatLE(value);
  return scalarConstant(name, FLOAT, raw);
}

/** Makes a scalar constant of type uint8. */
export function byteConstant(name: string, value: number): Uint8Array {
  return scalarConstant(name, UINT8, Buffer.of(value));
}

/** Returns the pieces of the changed model. */
export function rewriteOnnx({ bytes, nodes: own }: OnnxModel, rewrite: Rewrite): Piece[] {
  const { nodes = own, constants = [], outputs = [], domain } = rewrite;
  const graph = graphOf(bytes);
  const others = fieldsOf(bytes, graph.start, graph.end).filter(({ number }) => number !== GRAPH.node);
  const inner: Piece[] = [
    ...nodes.flatMap(({ pieces }) => pieces),
    ...others.map(({ tag, end }): Piece => [tag, end - tag]),
    ...constants,
    ...outputs.map(floatOutput),
  ];
  const size = inner.reduce((sum, piece) => sum + sizeOf(piece), 0);
  const around = fieldsOf(bytes, 0, bytes.length).flatMap(({ number, tag, end }): Piece[] =>
    number === MODEL.graph ? [header(MODEL.graph, size), ...inner] : [[tag, end - tag]],
  );
  return joined(domain === undefined ? around : [...around, opset(domain)]);
}

/** Copies the pieces into one buffer. */
export function assemble(pieces: readonly Piece[], source: Uint8Array): Uint8Array {
  return Buffer.concat(
    pieces.map((piece) => (isRange(piece) ? source.subarray(piece[0], piece[0] + piece[1]) : piece)),
  );
}

/** Whether a piece names a range of the source. */
export function isRange(piece: Piece): piece is readonly [offset: number, length: number] {
  return !(piece instanceof Uint8Array);
}

/** A field of a protobuf message: where it, and where its content begins and ends. */
interface Field {
  readonly number: number;
  readonly wire: number;
  readonly tag: number;
  readonly start: number;
  readonly end: number;
}

function fieldsOf(bytes: Uint8Array, from: number, to: number): Field[] {
  const fields: Field[] = [];
  for (let at = from; at < to; ) {
    const tag = at;
    const [key, afterKey] = readVarint(bytes, at);
    const wire = key % 8;
    let start = afterKey;
    if (wire === 0) at = readVarint(bytes, start)[1];
    else if (wire === 1) at = start + 8;
    else if (wire === 5) at = start + 4;
    else if (wire === 2) {
      const [length, content] = readVarint(bytes, start);
      start = content;
      at = start + length;
    } else throw unreadable(`wire type ${wire} at byte ${tag}`);
    if (at > to) throw unreadable(`the field at byte ${tag} exceeds it`);
    fields.push({ number: Math.floor(key / 8), wire, tag, start, end: at });
  }
  return fields;
}

function readVarint(bytes: Uint8Array, from: number): [value: number, end: number] {
  let value = 0;
  for (let at = from, factor = 1; at < bytes.length && at < from + 10; at += 1, factor *= 128) {
    const byte = bytes[at] ?? 0;
    value += (byte % 128) * factor;
    if (byte < 128) return [value, at + 1];
  }
  throw unreadable(`no number at byte ${from}`);
}

function countVarints(bytes: Uint8Array, { start, end }: Field): number {
  return bytes.subarray(start, end).filter((byte) => byte < 128).length;
}

function graphOf(bytes: Uint8Array): Field {
  const graph = fieldsOf(bytes, 0, bytes.length).find(({ number }) => number === MODEL.graph);
  if (!graph) throw unreadable('it has no graph');
  return graph;
}

function nodeOf(bytes: Uint8Array, { tag, start, end }: Field): GraphNode {
  const fields = fieldsOf(bytes, start, end);
  return {
    name: textsOf(bytes, fields, NODE.name)[0] ?? '',
    operator: textsOf(bytes, fields, NODE.operator)[0] ?? '',
    inputs: textsOf(bytes, fields, NODE.input),
    outputs: textsOf(bytes, fields, NODE.output),
    pieces: [[tag, end - tag]],
  };
}

function textsOf(bytes: Uint8Array, fields: readonly Field[], number: number): string[] {
  return fields
    .filter((field) => field.number === number)
    .map(({ start, end }) => Buffer.from(bytes.subarray(start, end)).toString('utf8'));
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
  return Uint8Array.of(...bytes, rest);
}

function header(field: number, length: number): Uint8Array {
  return Buffer.concat([varint(field * 8 + 2), varint(length)]);
}

function bytesField(field: number, content: Uint8Array): Uint8Array {
  return Buffer.concat([header(field, content.length), content]);
}

function textField(field: number, text: string): Uint8Array {
  return bytesField(field, Buffer.from(text));
}

function numberField(field: number, value: number): Uint8Array {
  return Buffer.concat([varint(field * 8), varint(value)]);
}

/** A tensor without dimensions is a scalar. */
function scalarConstant(name: string, type: number, raw: Uint8Array): Uint8Array {
  const tensor = [
    numberField(TENSOR.dataType, type),
    textField(TENSOR.name, name),
    bytesField(TENSOR.rawData, raw),
  ];
  return bytesField(GRAPH.initializer, Buffer.concat(tensor));
}

function floatOutput(name: string): Uint8Array {
  const type = bytesField(VALUE.type, bytesField(FIRST, numberField(FIRST, FLOAT)));
  return bytesField(GRAPH.output, Buffer.concat([textField(VALUE.name, name), type]));
}

function opset(domain: string): Uint8Array {
  const content = [textField(OPSET.domain, domain), numberField(OPSET.version, 1)];
  return bytesField(MODEL.opsetImport, Buffer.concat(content));
}

function sizeOf(piece: Piece): number {
  return isRange(piece) ? piece[1] : piece.length;
}

/** Neighbours that can be one piece are one. */
function joined(pieces: readonly Piece[]): Piece[] {
  const result: Piece[] = [];
  for (const piece of pieces) {
    const last = result.at(-1);
    if (last && isRange(last) && isRange(piece) && last[0] + last[1] === piece[0]) {
      result[result.length - 1] = [last[0], last[1] + piece[1]];
    } else if (last && !isRange(last) && !isRange(piece)) {
      result[result.length - 1] = Buffer.concat([last, piece]);
    } else result.push(piece);
  }
  return result;
}

function unreadable(why: string): AppError {
  return new AppError('model_unloadable', `not an ONNX model: ${why}`);
}
