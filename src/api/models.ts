import * as z from 'zod';
import { type Answer, json, operation, type Paths } from './operation.js';
import { count } from './schema.js';

const infoSchema = z
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
  .meta({ id: 'HubModel', description: "A model in the hub's words" });

const treeSchema = z
  .array(
    z.object({
      type: z.enum(['file', 'directory']),
      path: z.string(),
      size: count,
      oid: z.string(),
      lfs: z.object({ oid: z.string(), size: count, pointerSize: count }).exactOptional(),
    }),
  )
  .meta({ id: 'HubTree', description: "A folder in the hub's words" });

/** What the hub says of a model. */
export type HubModel = z.output<typeof infoSchema>;
/** What the hub lists of a folder. */
export type HubTree = z.output<typeof treeSchema>;

const org = z.string().min(1).meta({ example: 'Xenova' });
const name = z.string().min(1).meta({ example: 'all-MiniLM-L6-v2' });
const revision = z.string().min(1).meta({ description: 'A commit hash, or `main`', example: 'main' });
const path = z.string().min(1).meta({ description: 'May hold `/`', example: 'config.json' });

const bytes = z.string().meta({ format: 'binary' });
const file = (description: string, headers: z.ZodRawShape = {}): Answer => ({
  description,
  headers: z.object({ ETag: z.string(), 'Accept-Ranges': z.literal('bytes'), ...headers }),
  content: { 'application/octet-stream': { schema: bytes } },
});

/** The model's files for other instances and for hub clients; all of it answers 404 without `SERVE_MODEL`. */
export function modelPaths(): Paths {
  const common = {
    tag: 'Model files',
    access: 'key',
    description: 'Only with `SERVE_MODEL=true`.',
  } as const;
  const resolve = (id: string) =>
    operation({
      ...common,
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
        200: file('The file'),
        206: file('A part of it', { 'Content-Range': z.string() }),
        304: { description: 'It is the one of `If-None-Match`', headers: z.object({ ETag: z.string() }) },
      },
      problems: [400, 404, 416],
    });
  const info = (id: string, params: z.ZodObject) =>
    operation({
      ...common,
      id,
      summary: 'The model in the words of the hub',
      params: {
        path: params,
        query: z.object({ blobs: z.string().optional().meta({ description: 'Adds sizes and digests' }) }),
      },
      answers: { 200: json('The model', infoSchema) },
      problems: [400, 404],
    });
  const tree = (id: string, params: z.ZodObject) =>
    operation({
      ...common,
      id,
      summary: 'What is in a folder of the model, in the words of the hub',
      params: {
        path: params,
        query: z.object({
          recursive: z
            .string()
            .optional()
            .meta({ description: '`true` or `1` lists the folders below, too' }),
        }),
      },
      answers: { 200: json('The folder', treeSchema) },
      problems: [400, 404],
    });
  return {
    '/models/{org}/{name}/resolve/{revision}/{path}': { get: resolve('modelFile') },
    '/{org}/{name}/resolve/{revision}/{path}': { get: resolve('hubFile') },
    '/api/models/{org}/{name}': { get: info('hubModel', z.object({ org, name })) },
    '/api/models/{org}/{name}/revision/{revision}': {
      get: info('hubModelAtRevision', z.object({ org, name, revision })),
    },
    '/api/models/{org}/{name}/tree/{revision}': {
      get: tree('hubTree', z.object({ org, name, revision })),
    },
    '/api/models/{org}/{name}/tree/{revision}/{path}': {
      get: tree('hubFolder', z.object({ org, name, revision, path: path.meta({ example: 'onnx' }) })),
    },
  };
}
