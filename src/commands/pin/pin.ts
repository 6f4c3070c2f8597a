import { createHash, randomUUID } from 'node:crypto';
import { rename, writeFile } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { type EmbeddingSpec, type Manifest, parseManifest } from '../../cache/manifest.js';
import type { Config } from '../../config/config.js';
import { AppError, fileFault } from '../../shared/errors.js';
import { type Command, command, type Outcome, usageFault } from '../command.js';
import { formatBytes, modelName } from '../format.js';
import type { Output } from '../output.js';
import { Progress } from '../progress.js';

import {
  CANARY_TEXTS,
  computeCanary,
  type Fact,
  type FactOverrides,
  type ModelFacts,
  makeRecipe,
  minCosineOf,
  readFacts,
  type Selection,
  selectFiles,
  weightsOf,
} from './model.js';
import { openFolderOrigin, openHttpOrigin, type PinOrigin } from './origins.js';

const OPTIONS = {
  from: { value: 'DIR|URL', help: 'a folder, or a mirror (a file tree); default: the hub (HF_ENDPOINT)' },
  out: { value: 'FILE', help: 'where the manifest goes; default: stdout' },
  variant: {
    value: 'NAME',
    help: 'q8 (default): onnx/model_quantized.onnx; fp32: onnx/model.onnx; NAME: onnx/model_NAME.onnx',
  },
  model: { value: 'PATH', help: 'the ONNX file, where it is none of these' },
  dimension: { value: 'N', help: "length of a vector, instead of what the model's files say" },
  'max-tokens': { value: 'N', help: 'longest input in tokens, likewise' },
  pooling: { value: 'mean|cls', help: 'likewise' },
  normalize: { value: 'true|false', help: 'likewise' },
  'batch-sensitive': {
    value: 'true|false',
    help: 'whether texts in one batch change each other; default: false for fp32 and fp16, else true',
  },
  'fixed-scales': {
    help: 'writes a recipe beside --out: constant activation scales for a dynamically quantized model',
  },
  license: { value: 'ID', help: 'SPDX id, where the hub does not say it' },
  canary: {
    multiple: true,
    value: 'TEXT',
    help: 'text whose embedding is kept as a known answer; default: three',
  },
  'min-cosine': {
    value: 'X',
    help: 'lowest accepted cosine to the known answers; default 0.98, or 0.9999 for fp32',
  },
} as const;

/** `ai-router pin`: writes the manifest of a model. */
export const pin: Command = command({
  name: 'pin',
  operands: '<org/name>@<revision>',
  operandCount: [1, 1],
  options: OPTIONS,
  notes:
    'A revision is a branch or tag where the hub (or a mirror with its API) can resolve it, else a full commit hash.\n' +
    'The model is really run: its answers to a few texts become the canary that each later load must repeat.\n' +
    'Use the result with MODEL_MANIFEST=FILE.',
  exitStatus: '0 when the manifest is written, 1 when files are missing, or the model does not run',
  async run({ positionals: [operand = ''], values, config, output, signal }): Promise<Outcome> {
    const { repo, revision } = readOperand(operand);
    const variant = values.variant ?? 'q8';
    const quantized = !['fp32', 'fp16'].includes(variant);
    const fixedScales = values['fixed-scales'] === true;
    if (fixedScales && values.out === undefined) throw usageFault('--fixed-scales needs --out');
    const batchSensitive = readBoolean('batch-sensitive', values) ?? (quantized && !fixedScales);
    const minCosine = readNumber('min-cosine', values) ?? minCosineOf(quantized);
    const overrides = readOverrides(values);
    const origin = await openOrigin({ from: values.from, repo, revision, config, output, signal });
    try {
      const selection = await selectFiles(
        origin,
        values.model ?? weightsOf(variant),
        ({ path, size, sha256 }) => output.note(`${path}: ${formatBytes(size)}, sha256 ${sha256}`),
      );
      const facts = await readFacts(selection.all, overrides);
      for (const [name, { value, from }] of Object.entries(inSnakeCase(facts)))
        output.note(`${name}: ${value} (${from})`);
      const embedding: EmbeddingSpec = {
        model: selection.model,
        tokenizer: 'tokenizer.json',
        tokenizer_config: 'tokenizer_config.json',
        dimension: facts.dimension.value,
        max_tokens: facts.maxTokens.value,
        pooling: facts.pooling.value,
        normalize: facts.normalize.value,
        batch_sensitive: batchSensitive,
      };
      const texts = values.canary ?? CANARY_TEXTS;
      if (fixedScales) output.note('measuring activation scales: takes several seconds');
      const recipe = fixedScales ? await makeRecipe(embedding, selection.all) : undefined;
      const canary = await computeCanary(embedding, selection.all, texts, minCosine, output.log(), recipe);
      const license = values.license ?? origin.license ?? 'unknown';
      const text = manifestText({
        schema: 1,
        repo,
        revision: origin.revision,
        variant,
        license,
        files: pinnedOf(selection),
        embedding,
        ...(recipe !== undefined && values.out !== undefined
          ? { recipe: await writeRecipe(values.out, recipe) }
          : {}),
        canary,
      });
      return await finish(parseManifest(text, 'the new manifest'), text, facts, values.out);
    } finally {
      await origin.close();
    }
  },
});

type PinValues = Readonly<Partial<Record<Flag, string | readonly string[] | undefined>>>;
/** Flags with a value. */
type Flag = Exclude<keyof typeof OPTIONS, 'fixed-scales'>;

function readOperand(operand: string): { repo: string; revision: string } {
  const at = operand.lastIndexOf('@');
  const [repo, revision] = [operand.slice(0, at), operand.slice(at + 1)];
  if (at < 1 || revision === '' || !/^[A-Za-z0-9_.-]+\/[A-Za-z0-9_.-]+$/.test(repo)) {
    throw usageFault(`takes <org/name>@<revision>, not "${operand}"`);
  }
  return { repo, revision };
}

function readOverrides(values: PinValues): FactOverrides {
  const { pooling } = values;
  if (pooling !== undefined && pooling !== 'mean' && pooling !== 'cls') {
    throw usageFault('--pooling must be mean or cls');
  }
  return {
    dimension: readNumber('dimension', values),
    maxTokens: readNumber('max-tokens', values),
    pooling,
    normalize: readBoolean('normalize', values),
  };
}

function readNumber(flag: Flag, values: PinValues): number | undefined {
  const text = values[flag];
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!(value > 0)) throw usageFault(`--${flag} must be a number above 0`);
  return value;
}

function readBoolean(flag: Flag, values: PinValues): boolean | undefined {
  const text = values[flag];
  if (text === undefined) return undefined;
  if (text !== 'true' && text !== 'false') throw usageFault(`--${flag} must be true or false`);
  return text === 'true';
}

interface OriginRequest {
  readonly from: string | undefined;
  readonly repo: string;
  readonly revision: string;
  readonly config: Config;
  readonly output: Output;
  readonly signal: AbortSignal;
}

async function openOrigin({
  from,
  repo,
  revision,
  config,
  output,
  signal,
}: OriginRequest): Promise<PinOrigin> {
  const remote = from === undefined || /^https?:\/\//i.test(from);
  if (!remote) {
    if (!/^[0-9a-f]{40}$/.test(revision)) {
      throw usageFault('a folder cannot resolve a branch: give the full commit hash (40 hexadecimal digits)');
    }
    return openFolderOrigin(from, revision);
  }
  if (from === undefined && config.hubOffline) {
    throw usageFault('HF_HUB_OFFLINE forbids asking the hub: give --from');
  }
  let progress: { path: string; shown: Progress } | undefined;
  output.beforeNote = () => progress?.shown.clear();
  return openHttpOrigin({
    ...(from === undefined
      ? { url: config.hubEndpoint, token: config.hubToken }
      : { url: from, token: config.mirrorToken }),
    repo,
    revision,
    signal,
    needsApi: from === undefined,
    onProgress: (path, bytes, total) => {
      if (total === undefined || total < 1 << 20) return;
      if (progress?.path !== path) {
        progress?.shown.end();
        progress = { path, shown: new Progress(process.stderr, 'bytes', path) };
      }
      progress.shown.reached(bytes, total);
      if (bytes >= total) progress.shown.end();
    },
  });
}

function pinnedOf({ pinned }: Selection): { path: string; size: number; sha256: string }[] {
  return [...pinned.values()].map(({ path, size, sha256 }) => ({ path, size, sha256 }));
}

function manifestText(manifest: Omit<Manifest, 'digest'>): string {
  return `${JSON.stringify(manifest, null, 2)}\n`;
}

async function finish(
  manifest: Manifest,
  text: string,
  facts: ModelFacts,
  out: string | undefined,
): Promise<Outcome> {
  const { digest, ...body } = manifest;
  const file = out === undefined ? undefined : resolve(out);
  if (file !== undefined) await writeWhole(file, text);
  return {
    ok: true,
    report: { out: file ?? null, digest, manifest: body, facts: inSnakeCase(facts) },
    text:
      file === undefined ? text.trimEnd().split('\n') : [`${file}: pins ${modelName(manifest)}, ${digest}`],
  };
}

/** As the manifest calls them. */
function inSnakeCase({ maxTokens, ...others }: ModelFacts): Record<string, Fact<unknown>> {
  return { ...others, max_tokens: maxTokens };
}

/** Writes the recipe beside the manifest that will name it. */
async function writeRecipe(out: string, recipe: string): Promise<{ path: string; sha256: string }> {
  const file = `${resolve(out).replace(/\.json$/, '')}.recipe.json`;
  await writeWhole(file, recipe);
  return { path: basename(file), sha256: createHash('sha256').update(recipe).digest('hex') };
}

async function writeWhole(file: string, text: string): Promise<void> {
  const temporary = `${file}.${randomUUID()}.tmp`;
  try {
    await writeFile(temporary, text, { flag: 'wx' });
    await rename(temporary, file);
  } catch (cause) {
    throw new AppError('internal', `cannot write ${file}: ${fileFault(cause, true)}`, { cause });
  }
}
