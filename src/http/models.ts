import type Router from '@koa/router';
import type { Context } from 'koa';
import type { HubModel, HubTree } from '../api/models.js';
import type { Manifest, PinnedFile } from '../cache/manifest.js';
import type { OpenBlob } from '../cache/open-blob.js';
import { AppError } from '../shared/errors.js';
import { answerStream } from './answer.js';
import { brief } from './body.js';
import { pathParam } from './path-param.js';
import { matchesEtag, parseRange } from './range.js';

/** What the paths of the model's files ask. */
export interface ModelsPort {
  /** The active manifest: nothing else is served. */
  readonly manifest: Manifest;
  /** Opens the verified blob of a pinned file. */
  open(file: PinnedFile): Promise<OpenBlob>;
}

/** The branch under which hub clients ask when nobody tells them a revision. */
const BRANCH = 'main';
/** A commit never changes, a branch may. */
const IMMUTABLE = 'public, max-age=31536000, immutable';

/** The hub's own words for what is not there; its clients turn them into their own errors. */
type HubError = 'RepoNotFound' | 'RevisionNotFound' | 'EntryNotFound';

/**
 * The model's files for other instances and for hub clients: `/models/{repo}/resolve/{revision}/{path}`, the same
 * without `/models`, and the part of the hub's API with which its clients find commit and files.
 */
export function modelRoutes(router: Router, port: ModelsPort): void {
  const serve = (context: Context): Promise<void> => serveFile(context, port);
  router.get('/models/:org/:name/resolve/:revision/*path', serve);
  router.get('/:org/:name/resolve/:revision/*path', serve);

  const info = (context: Context): void => {
    context.body = infoOf(pinned(context, port.manifest), context.query.blobs !== undefined);
  };
  router.get('/api/models/:org/:name', info);
  router.get('/api/models/:org/:name/revision/:revision', info);

  const tree = (context: Context): void => {
    const manifest = pinned(context, port.manifest);
    const recursive = /^(true|1)$/i.test(String(context.query.recursive ?? ''));
    const entries = treeOf(manifest, pathParam(context, 'path'), recursive);
    if (!entries) throw missing(context, 'EntryNotFound', 'there is no such folder in this model');
    context.body = entries;
  };
  router.get('/api/models/:org/:name/tree/:revision', tree);
  router.get('/api/models/:org/:name/tree/:revision/*path', tree);
}

async function serveFile(context: Context, port: ModelsPort): Promise<void> {
  const { files, revision } = pinned(context, port.manifest);
  const path = pathParam(context, 'path');
  const file = files.find((candidate) => candidate.path === path);
  if (!file) throw missing(context, 'EntryNotFound', `this model has no file "${brief(path)}"`);
  const etag = `"${file.sha256}"`;
  const blob = await port.open(file);
  context.set({
    ETag: etag,
    'Accept-Ranges': 'bytes',
    'X-Repo-Commit': revision,
    'X-Linked-ETag': etag,
    'X-Linked-Size': String(file.size),
    'X-Content-Type-Options': 'nosniff',
    'Cache-Control': pathParam(context, 'revision') === revision ? IMMUTABLE : 'no-cache',
  });
  if (matchesEtag(context.get('if-none-match'), etag)) {
    await blob.close();
    context.status = 304;
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
  answerStream(context, blob.stream(start, end));
  describeBody(context, range ? 206 : 200, end - start);
}

function describeBody(context: Context, status: number, length: number): void {
  context.status = status;
  context.type = 'application/octet-stream';
  context.length = length;
}

/**
 * The manifest that the path's model and revision stand for.
 * @throws AppError `not_found`
 */
function pinned(context: Context, manifest: Manifest): Manifest {
  const repo = `${pathParam(context, 'org')}/${pathParam(context, 'name')}`;
  const revision = pathParam(context, 'revision');
  if (repo !== manifest.repo) {
    throw missing(context, 'RepoNotFound', `this instance serves ${manifest.repo} only`);
  }
  if (revision !== '' && revision !== manifest.revision && revision !== BRANCH) {
    throw missing(context, 'RevisionNotFound', `this instance serves revision ${manifest.revision} only`);
  }
  return manifest;
}

function missing(context: Context, code: HubError, message: string): AppError {
  // The message repeats what was asked for, which may hold anything; a header may not.
  context.set({ 'X-Error-Code': code, 'X-Error-Message': message.replace(/[^ -~]/g, '?') });
  return new AppError('not_found', message);
}

/** What the hub says of a model at a revision, as far as its clients ask; `blobs` adds sizes and digests. */
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

/** Bytes of the Git LFS pointer that stands for a file of `size` bytes in a repository. */
function pointerSize(size: number): number {
  return 125 + String(size).length;
}

type TreeEntry = HubTree[number];

/** What the hub lists below `folder`; every file is told as a large one, for these carry their sha256. */
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
