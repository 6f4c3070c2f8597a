import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';

/** The runtime's module, of whatever version. */
export type Runtime = typeof import('onnxruntime-node');

/** The weights of a built-in model. */
export type Variant = 'q8' | 'fp32';

/** Token ids of one text. */
export type Row = readonly number[];

/** @param folder where `onnxruntime-node` is installed; the project itself unless told otherwise */
export function loadRuntime(folder = '.'): { readonly ort: Runtime; readonly version: string } {
  const require = createRequire(resolve(folder, 'index.js'));
  const entry = require.resolve('onnxruntime-node');
  const home = entry.slice(0, entry.lastIndexOf('onnxruntime-node'));
  const manifest = resolve(home, 'onnxruntime-node/package.json');
  const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { version: string };
  return { ort: require('onnxruntime-node') as Runtime, version };
}

/** Where a variant's graph lies; `undefined` for fp32, which is not bundled, when nobody has fetched it. */
export function modelPath(variant: Variant): string | undefined {
  if (variant === 'q8') return 'model/onnx/model_quantized.onnx';
  const candidates = [process.env.AI_ROUTER_FP32_MODEL, '../shared/model-fp32/onnx/model.onnx'];
  return candidates.find((path) => path !== undefined && existsSync(path));
}

/** How to get the variant whose path is unknown. */
export const FP32_MISSING =
  'SKIPPED fp32: no model.onnx; set AI_ROUTER_FP32_MODEL to the one of Xenova/all-MiniLM-L6-v2';

/** A row that has `length` tokens, special ones included, always the same for the same arguments. */
export function rowOf(length: number, seed = 0): Row {
  const body = Array.from(
    { length: length - 2 },
    (_, at) => 1_996 + ((at * 7_919 + seed * 104_729) % 28_000),
  );
  return [101, ...body, 102];
}

/** The inputs of one forward pass; short rows are padded. */
export function feedsOf(ort: Runtime, rows: readonly Row[]): Record<string, InstanceType<Runtime['Tensor']>> {
  const length = Math.max(...rows.map((row) => row.length));
  const tensor = (value: (row: Row, at: number) => number) =>
    new ort.Tensor(
      'int64',
      BigInt64Array.from(
        rows.flatMap((row) =>
          Array.from({ length }, (_, at) => BigInt(at < row.length ? value(row, at) : 0)),
        ),
      ),
      [rows.length, length],
    );
  return {
    input_ids: tensor((row, at) => row[at] ?? 0),
    attention_mask: tensor(() => 1),
    token_type_ids: tensor(() => 0),
  };
}
