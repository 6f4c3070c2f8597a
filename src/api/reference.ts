import * as z from 'zod';
import { operation, type Paths } from './operation.js';

const HTML = { 'text/html': { schema: z.string() } };

/** What people look at: the page, the contract, and its viewer. */
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
    '/': {
      get: operation({
        ...common,
        id: 'page',
        summary: 'A page for people: state, cache, traffic, and a box to try a text',
        answers: { 200: { description: 'The page', content: HTML } },
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
