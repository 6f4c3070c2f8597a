import * as z from 'zod';
import { count } from './schema.js';

export const hubModelSchema = z
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

export const hubTreeSchema = z
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

/** The hub's description of a model. */
export type HubModel = z.output<typeof hubModelSchema>;
/** The hub's listing of a folder. */
export type HubTree = z.output<typeof hubTreeSchema>;
