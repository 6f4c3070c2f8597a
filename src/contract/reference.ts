import * as z from 'zod';
import { operation, type Paths } from './operation.js';

const HTML = { 'text/html': { schema: z.string() } };

/** The contract itself, and its reader's page. */
export function referencePaths(): Paths {
  const common = { tag: 'Contract', access: 'open' } as const;
  return {
    '/openapi.json': {
      get: operation({
        ...common,
        id: 'openapi',
        summary: 'This document',
        answers: {
          200: {
            description: 'An OpenAPI 3.1 document',
            content: { 'application/json': { schema: z.looseObject({ openapi: z.string() }) } },
          },
        },
      }),
    },
    '/docs': {
      get: operation({
        ...common,
        id: 'docs',
        summary: 'This document, to read and to try',
        answers: { 200: { description: 'A page', content: HTML } },
      }),
    },
  };
}
