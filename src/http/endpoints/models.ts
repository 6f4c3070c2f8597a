import * as z from 'zod';
import { count } from '../../api/schema.js';
import type { Manifest } from '../../cache/manifest.js';
import type { BlobOpener } from '../../cache/open-blob.js';
import { AppError } from '../../shared/errors.js';
import { type Answer, type Endpoint, json, type PathParams } from '../openapi.js';
import { isFresh, type RequestContext, sendJson, sendStream, truncate } from '../request.js';

const hubModelSchema = z
  .object({
    _id: z.string(),
    id: z.string(),
    modelId: z.string(),
    sha: z.string(),
    private: z.literal(false),
    gated: z.literal(false),
    disabled: z.literal(false),
    tags: z.array(z.string()),
    cardData: z.object({ license: z.string() }),
    siblings: z.array(
      z.object({
        rfilename: z.string(),
        size: count.exactOptional(),
        blobId: z.string().exactOptional(),
        lfs: z.object({ size: count, sha256: z.string(), pointerSize: count }).exactOptional(),
      }),
    ),
  })
  .meta({ id: 'HubModel', description: 'A model in the format of the hub' });

const hubTreeSchema = z
  .array(
    z.object({
      type: z.enum(['file', 'directory']),
      path: z.string(),
      size: count,
      oid: z.string(),
      lfs: z.object({ oid: z.string(), size: count, pointerSize: count }).exactOptional(),
    }),
  )
  .meta({ id: 'HubTree', description: 'A folder in the format of the hub' });

type HubModel = z.output<typeof hubModelSchema>;
/** The hub's listing of a folder. */
type HubTree = z.output<typeof hubTreeSchema>;

/** Opens the model's files. */
export interface ModelsPort {
  /** The active manifest: nothing else is served. */
  readonly manifest: Manifest;
  /** Opens the verified blob of a pinned file. */
  readonly open: BlobOpener['open'];
}

export interface ModelPorts {
  /** `undefined` serves no files of the model. */
  readonly models: ModelsPort | undefined;
}

/** The branch that hub clients ask for where they name no revision. */
const BRANCH = 'main';
/** A commit never changes, a branch may. */
const IMMUTABLE = 'public, max-age=31536000, immutable';

/** The hub's codes for what does not exist; its clients turn them into their own errors. */
type HubError = 'RepoNotFound' | 'RevisionNotFound' | 'EntryNotFound';

const org = z.string().min(1).meta({ example: 'Xenova' });
const name = z.string().min(1).meta({ example: 'all-MiniLM-L6-v2' });
const revision = z.string().min(1).meta({ description: 'A commit hash, or `main`', example: 'main' });
const path = z.string().min(1).meta({ description: 'May contain `/`', example: 'config.json' });

/**
 * The model's files for other instances and for hub clients: `/models/{repo}/resolve/{revision}/{path}`, the same
 * without `/models`, and the part of the hub's API with which its clients find commit and files.
 */
export function modelEndpoints(): Endpoint<ModelPorts>[] {
  return [
    fileEndpoint('modelFile', '/models/{org}/{name}/resolve/{revision}/{path+}'),
    fileEndpoint('hubFile', '/{org}/{name}/resolve/{revision}/{path+}'),
    infoEndpoint('hubModel', '/api/models/{org}/{name}', z.object({ org, name })),
    infoEndpoint(
      'hubModelAtRevision',
      '/api/models/{org}/{name}/revision/{revision}',
      z.object({ org, name, revision }),
    ),
    treeEndpoint('hubTree', '/api/models/{org}/{name}/tree/{revision}', z.object({ org, name, revision })),
    treeEndpoint(
      'hubFolder',
      '/api/models/{org}/{name}/tree/{revision}/{path+}',
      z.object({ org, name, revision, path: path.meta({ example: 'onnx' }) }),
    ),
  ];
}

const COMMON = {
  method: 'GET',
  access: 'key',
  tag: 'Model files',
  description: 'Only with `SERVE_MODEL=true`.',
} as const;

function fileEndpoint(id: string, template: string): Endpoint<ModelPorts> {
  return {
    ...COMMON,
    path: template,
    id,
    summary: 'A verified file of the model',
    params: {
      path: z.object({ org, name, revision, path }),
      header: z.object({
        Range: z.string().optional(),
        'If-Range': z.string().optional(),
        'If-None-Match': z.string().optional(),
      }),
    },
    answers: {
      200: fileAnswer('The file'),
      206: fileAnswer('A range of the file', { 'Content-Range': z.string() }),
      304: {
        description: 'Not modified: the file that `If-None-Match` names',
        headers: z.object({ ETag: z.string() }),
      },
    },
    problems: [400, 404, 416],
    handle: serveFile,
  };
}

function fileAnswer(description: string, headers: z.ZodRawShape = {}): Answer {
  return {
    description,
    headers: z.object({ ETag: z.string(), 'Accept-Ranges': z.literal('bytes'), ...headers }),
    content: { 'application/octet-stream': { schema: z.string().meta({ format: 'binary' }) } },
  };
}

function infoEndpoint(id: string, template: string, params: z.ZodObject): Endpoint<ModelPorts> {
  return {
    ...COMMON,
    path: template,
    id,
    summary: 'The model in the format of the hub',
    params: {
      path: params,
      query: z.object({
        blobs: z.string().optional().meta({ description: 'Whether to add sizes and digests' }),
      }),
    },
    answers: { 200: json('The model', hubModelSchema) },
    problems: [400, 404],
    handle(context, ports, values) {
      const manifest = pinned(context, served(context, ports).manifest, values);
      sendJson(context, infoOf(manifest, context.query.blobs !== undefined));
    },
  };
}

function treeEndpoint(id: string, template: string, params: z.ZodObject): Endpoint<ModelPorts> {
  return {
    ...COMMON,
    path: template,
    id,
    summary: 'Contents of a folder of the model, in the format of the hub',
    params: {
      path: params,
      query: z.object({
        recursive: z.string().optional().meta({ description: '`true` or `1` lists subfolders as well' }),
      }),
    },
    answers: { 200: json('The folder', hubTreeSchema) },
    problems: [400, 404],
    handle(context, ports, values) {
      const manifest = pinned(context, served(context, ports).manifest, values);
      const recursive = /^(true|1)$/i.test(String(context.query.recursive ?? ''));
      const entries = treeOf(manifest, values.path ?? '', recursive);
      if (!entries) throw missing(context, 'EntryNotFound', 'there is no such folder in this model');
      sendJson(context, entries);
    },
  };
}

async function serveFile(context: RequestContext, ports: ModelPorts, params: PathParams): Promise<void> {
  const port = served(context, ports);
  const { files, revision } = pinned(context, port.manifest, params);
  const { path = '' } = params;
  const file = files.find((candidate) => candidate.path === path);
  if (!file) throw missing(context, 'EntryNotFound', `this model has no file "${truncate(path)}"`);
  const etag = `"${file.sha256}"`;
  const blob = await port.open(file);
  context.set({
    'Accept-Ranges': 'bytes',
    'X-Repo-Commit': revision,
    'X-Linked-ETag': etag,
    'X-Linked-Size': String(file.size),
    'X-Content-Type-Options': 'nosniff',
    'Cache-Control': params.revision === revision ? IMMUTABLE : 'no-cache',
  });
  if (isFresh(context, etag)) {
    await blob.close();
    return;
  }
  if (context.method === 'HEAD') {
    await blob.close();
    describeBody(context, 200, file.size);
    return;
  }
  const condition = context.get('if-range');
  const applies = condition === '' || condition === etag;
  const range = applies ? parseRange(context.get('range'), file.size) : undefined;
  if (range === 'unsatisfiable') {
    await blob.close();
    context.set('Content-Range', `bytes */${file.size}`);
    throw new AppError('range_not_satisfiable', `the file has ${file.size} bytes`);
  }
  const { start, end } = range ?? { start: 0, end: file.size };
  if (range) context.set('Content-Range', `bytes ${start}-${end - 1}/${file.size}`);
  sendStream(context, blob.stream(start, end));
  describeBody(context, range ? 206 : 200, end - start);
}

function describeBody(context: RequestContext, status: number, length: number): void {
  context.status = status;
  context.type = 'application/octet-stream';
  context.length = length;
}

function served(context: RequestContext, { models }: ModelPorts): ModelsPort {
  if (models) return models;
  throw new AppError('not_found', `there is nothing at ${truncate(context.path)}`);
}

/**
 * Returns the manifest that the path's model and revision stand for.
 * @throws AppError `not_found`
 */
function pinned(context: RequestContext, manifest: Manifest, { org, name, revision }: PathParams): Manifest {
  if (`${org}/${name}` !== manifest.repo) {
    throw missing(context, 'RepoNotFound', `this instance serves ${manifest.repo} only`);
  }
  if (revision !== undefined && revision !== manifest.revision && revision !== BRANCH) {
    throw missing(context, 'RevisionNotFound', `this instance serves revision ${manifest.revision} only`);
  }
  return manifest;
}

function missing(context: RequestContext, code: HubError, message: string): AppError {
  // The message repeats what was asked for, which may hold anything; a header may not.
  context.set({ 'X-Error-Code': code, 'X-Error-Message': message.replace(/[^ -~]/g, '?') });
  return new AppError('not_found', message);
}

/** Describes a model at a revision as the hub does, as far as its clients ask; `blobs` adds sizes and digests. */
function infoOf({ repo, revision, files, license }: Manifest, blobs: boolean): HubModel {
  return {
    _id: revision.slice(0, 24),
    id: repo,
    modelId: repo,
    sha: revision,
    private: false,
    gated: false,
    disabled: false,
    tags: [`license:${license.toLowerCase()}`],
    cardData: { license: license.toLowerCase() },
    siblings: files.map(({ path, size, sha256 }) => ({
      rfilename: path,
      ...(blobs && {
        size,
        blobId: sha256.slice(0, 40),
        lfs: { size, sha256, pointerSize: pointerSize(size) },
      }),
    })),
  };
}

/** Returns the bytes of the Git LFS pointer that stands for a file of `size` bytes in a repository. */
function pointerSize(size: number): number {
  return 125 + String(size).length;
}

type TreeEntry = HubTree[number];

/** Lists a folder as the hub does. Every file is listed as a large one, for these carry their sha256. */
function treeOf({ files, revision }: Manifest, folder: string, recursive: boolean): TreeEntry[] | undefined {
  const prefix = folder === '' ? '' : `${folder.replace(/(?<!\/)\/+$/, '')}/`;
  const below = files.filter(({ path }) => path.startsWith(prefix));
  if (below.length === 0) return undefined;
  const entries = new Map<string, TreeEntry>();
  for (const { path, size, sha256 } of below) {
    const parts = path.slice(prefix.length).split('/');
    for (let depth = 1; depth < parts.length; depth += 1) {
      const directory = prefix + parts.slice(0, depth).join('/');
      if (recursive || depth === 1) {
        entries.set(directory, { type: 'directory', path: directory, size: 0, oid: revision });
      }
    }
    if (!recursive && parts.length > 1) continue;
    const lfs = { oid: sha256, size, pointerSize: pointerSize(size) };
    entries.set(path, { type: 'file', path, size, oid: sha256.slice(0, 40), lfs });
  }
  return [...entries.values()];
}

/** The bytes from `start` to before `end`. */
interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/**
 * Reads a `Range` header for a body of `size` bytes. Several ranges, another unit and what cannot be read give
 * `undefined`: the whole body, as RFC 9110 allows. `unsatisfiable` calls for a 416.
 */
export function parseRange(header: string, size: number): ByteRange | 'unsatisfiable' | undefined {
  const match = /^bytes=(?:(\d{1,15})-(\d{1,15})?|-(\d{1,15}))$/i.exec(header.replaceAll(' ', ''));
  if (!match) return undefined;
  const [, first, last, suffix] = match;
  if (suffix !== undefined) {
    const length = Math.min(Number(suffix), size);
    return length === 0 ? 'unsatisfiable' : { start: size - length, end: size };
  }
  const start = Number(first);
  const end = last === undefined ? size : Math.min(Number(last) + 1, size);
  if (last !== undefined && Number(last) < start) return undefined;
  return start >= size ? 'unsatisfiable' : { start, end };
}
