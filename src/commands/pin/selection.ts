import { AppError } from '../../shared/errors.js';
import { FACT_FILES } from './facts.js';
import type { OriginFile, PinOrigin } from './origin.js';

/** The files of a model that are needed, by what they are for. */
export interface Selection {
  /** Path of the ONNX graph. */
  readonly model: string;
  /** What the manifest pins, by path, in the order of paths. */
  readonly pinned: ReadonlyMap<string, OriginFile>;
  /** These and what is only read for facts. */
  readonly all: ReadonlyMap<string, OriginFile>;
}

const TOKENIZER = ['tokenizer.json', 'tokenizer_config.json'] as const;
const REQUIRED = ['config.json', ...TOKENIZER] as const;
const OPTIONAL = ['special_tokens_map.json'] as const;

/** Where a variant's weights are by the convention of ONNX repositories. */
export function weightsOf(variant: string): string {
  if (variant === 'fp32') return 'onnx/model.onnx';
  return variant === 'q8' ? 'onnx/model_quantized.onnx' : `onnx/model_${variant}.onnx`;
}

/**
 * Takes what is needed from an origin, the small files first: a repository that is no sentence-transformer is
 * refused before its weights are fetched.
 * @throws AppError `source_not_found`, naming what there is instead
 */
export async function selectFiles(
  origin: PinOrigin,
  model: string,
  onFile: (file: OriginFile) => void,
): Promise<Selection> {
  const all = new Map<string, OriginFile>();
  const pinned = new Map<string, OriginFile>();
  if (origin.paths && !origin.paths.includes(model)) throw lacking(origin, model);
  for (const path of [...REQUIRED, ...OPTIONAL, ...FACT_FILES, model]) {
    const file = await origin.take(path);
    const required = path === model || REQUIRED.some((name) => name === path);
    if (!file) {
      if (required) throw lacking(origin, path);
      continue;
    }
    onFile(file);
    all.set(path, file);
    if (required || OPTIONAL.some((name) => name === path)) pinned.set(path, file);
  }
  const sorted = [...pinned].sort(([a], [b]) => (a < b ? -1 : 1));
  return { model, pinned: new Map(sorted), all };
}

function lacking({ name, paths }: PinOrigin, path: string): AppError {
  const graphs = paths?.filter((candidate) => candidate.endsWith('.onnx')) ?? [];
  const hint =
    path.endsWith('.onnx') && paths
      ? `; it has ${graphs.length === 0 ? 'no .onnx file at all' : graphs.join(', ')} (see --variant and --model)`
      : '';
  return new AppError('source_not_found', `${name} has no ${path}${hint}`);
}
