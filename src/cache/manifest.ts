import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as z from 'zod';
import { issuesOf } from '../api/schema.js';
import { AppError, fileFault } from '../shared/errors.js';

/** A file of a model is never larger than this (64 GiB): a manifest that says so has a typing error. */
const MAX_FILE_BYTES = 64 * 2 ** 30;

/** A relative POSIX path in which every segment is a plain name: no `..`, no `.`, no empty one, no backslash. */
const relativePath = z
  .string()
  .max(512)
  .refine((path) => path.split('/').every((part) => /^[A-Za-z0-9_.-]+$/.test(part) && !/^\.+$/.test(part)), {
    error: 'must be a relative path of plain names (letters, digits, "_", "-", "."), without ".."',
  });

const sha256 = z.string().regex(/^[0-9a-f]{64}$/, 'must be 64 lower-case hexadecimal digits');

const pinnedFile = z.strictObject({
  path: relativePath,
  size: z.int().min(1).max(MAX_FILE_BYTES),
  sha256,
});

const canary = z.strictObject({
  text: z.string().min(1),
  /** The expected embedding: little-endian float32, base64. */
  embedding: z.base64().min(1),
});

const manifestSchema = z
  .strictObject({
    schema: z.literal(1),
    /** The model's repository on the hub, `organisation/name`. */
    repo: z.string().regex(/^[A-Za-z0-9_.-]+\/[A-Za-z0-9_.-]+$/, 'must look like "organisation/name"'),
    /** The full commit hash: a branch or a tag may move, a commit does not. */
    revision: z.string().regex(/^[0-9a-f]{40}$/, 'must be a full commit hash of 40 hexadecimal digits'),
    /** Which of the repository's weights are pinned: `q8`, `fp32`, … */
    variant: z.string().regex(/^[a-z0-9_-]{1,32}$/),
    license: z.string().min(1),
    files: z.array(pinnedFile).min(1).max(1000),
    embedding: z.strictObject({
      /** Which of `files` is the ONNX graph, and which describe the tokenizer. */
      model: relativePath,
      tokenizer: relativePath,
      tokenizer_config: relativePath,
      /** Length of an embedding. */
      dimension: z.int().min(1).max(65_536),
      /** Longest input in tokens, special tokens included. */
      max_tokens: z.int().min(3).max(131_072),
      pooling: z.enum(['mean', 'cls']),
      /** Whether embeddings are scaled to length 1. */
      normalize: z.boolean(),
      /**
       * Whether a text's vector depends on the texts it shares a batch with, as it does with dynamic
       * quantization, which takes one scale per tensor. Such a model runs one text at a time.
       */
      batch_sensitive: z.boolean(),
    }),
    /**
     * Derives the graph that is served from the pinned one, in memory. Its path is relative to the manifest: it comes
     * with the manifest and is never downloaded.
     */
    recipe: z.strictObject({ path: relativePath, sha256 }).optional(),
    /** Known answers that a freshly loaded model must give before it serves. */
    canary: z.strictObject({
      /** Lowest cosine between an answer and the known one; runtimes of other versions round differently. */
      min_cosine: z.number().gt(0).max(1),
      cases: z.array(canary).min(1).max(16),
    }),
  })
  .superRefine((manifest, context) => {
    const { files, embedding, canary } = manifest;
    const fault = (message: string, ...path: (string | number)[]): void =>
      context.addIssue({ code: 'custom', path, message });
    const paths = new Set<string>();
    const sizes = new Map<string, number>();
    for (const [index, { path, sha256, size }] of files.entries()) {
      // Some volumes fold case; two paths that differ in case only would be one file there.
      const folded = path.toLowerCase();
      if (paths.has(folded)) fault(`"${path}" is listed twice`, 'files', index, 'path');
      paths.add(folded);
      if ((sizes.get(sha256) ?? size) !== size) fault('one digest with two sizes', 'files', index, 'size');
      sizes.set(sha256, size);
    }
    for (const key of ['model', 'tokenizer', 'tokenizer_config'] as const) {
      if (!files.some(({ path }) => path === embedding[key]))
        fault(`names "${embedding[key]}", which is not among "files"`, 'embedding', key);
    }
    for (const [index, { embedding: vector }] of canary.cases.entries()) {
      if (Buffer.from(vector, 'base64').length === embedding.dimension * 4) continue;
      fault(`must hold ${embedding.dimension} float32 values`, 'canary', 'cases', index, 'embedding');
    }
  });

/** A file that a manifest pins: where it belongs in the model, its size in bytes and its sha256 (hex). */
export type PinnedFile = Readonly<z.infer<typeof pinnedFile>>;

/** How the model turns text into a vector, and which of its files it needs for that. */
export type EmbeddingSpec = Readonly<z.infer<typeof manifestSchema>['embedding']>;

/** The known answers of a model. */
export type CanarySpec = Readonly<z.infer<typeof manifestSchema>['canary']>;

/**
 * The pinned file list of one model, with the digest of the list itself. It comes with the program, never
 * from the volume that it judges.
 */
export type Manifest = Readonly<z.infer<typeof manifestSchema>> & {
  /**
   * `sha256:<hex>` over the pinned bytes (paths and their digests) and the recipe, independent of the JSON's
   * formatting. Vectors of different digests are never mixed.
   */
  readonly digest: string;
  /** Content of the recipe's file, verified, where the manifest was loaded from a file and names a recipe. */
  readonly recipeText?: string;
};

/**
 * Validates a manifest's text.
 * @throws AppError `manifest_invalid`, with every fault and its path in `issues`
 */
export function parseManifest(text: string, origin: string): Manifest {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new AppError('manifest_invalid', `${origin} is no manifest: it is not JSON`, { cause });
  }
  const result = manifestSchema.safeParse(json);
  if (!result.success) {
    const issues = issuesOf(result.error);
    const list = issues.map(({ path, message }) => `\n  ${path || '(top)'}: ${message}`).join('');
    throw new AppError('manifest_invalid', `${origin} is not a valid manifest:${list}`, { issues });
  }
  return { ...result.data, digest: digestOf(result.data) };
}

/**
 * Reads and validates the manifest at `path`, with the recipe that it names.
 * @throws AppError `manifest_invalid`
 */
export async function loadManifest(path: string): Promise<Manifest> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw new AppError('manifest_invalid', `cannot read the manifest ${path}: ${fileFault(cause)}`, {
      cause,
    });
  }
  const manifest = parseManifest(text, path);
  if (!manifest.recipe) return manifest;
  const file = join(dirname(path), manifest.recipe.path);
  let recipe: Buffer;
  try {
    recipe = await readFile(file);
  } catch (cause) {
    throw new AppError('manifest_invalid', `${path}: cannot read its recipe: ${fileFault(cause)}`, { cause });
  }
  const digest = hashOf(recipe);
  if (digest !== manifest.recipe.sha256) {
    throw new AppError(
      'manifest_invalid',
      `${path}: the sha256 of its recipe ${file} is ${digest}, pinned is ${manifest.recipe.sha256}`,
    );
  }
  return { ...manifest, recipeText: recipe.toString('utf8') };
}

/** The pinned file at `path`, which the caller took from the manifest itself. */
export function fileOf(manifest: Manifest, path: string): PinnedFile {
  const file = manifest.files.find((candidate) => candidate.path === path);
  if (!file) throw new AppError('manifest_invalid', `the manifest pins no file "${path}"`);
  return file;
}

function digestOf({ files, recipe }: Pick<Manifest, 'files' | 'recipe'>): string {
  const lines = files.map((file) => `${file.sha256} ${file.path}\n`).sort();
  // No path of a pinned file has a space.
  if (recipe) lines.push(`${recipe.sha256} derived by recipe\n`);
  return `sha256:${hashOf(lines.join(''))}`;
}

function hashOf(content: string | Buffer): string {
  return createHash('sha256').update(content).digest('hex');
}
