import type Router from '@koa/router';
import type { createDocument } from 'zod-openapi';
import type { EmbeddingModel } from '../api/embedding-model.js';
import type { RequestLimits } from '../api/limits.js';
import type { RateLimit } from '../config/parsers.js';

/** What the contract depends on besides the code. */
export interface ContractSettings extends RequestLimits {
  readonly version: string;
  readonly model: EmbeddingModel;
  /** Texts that may wait for inference. */
  readonly maxQueue: number;
  readonly maxConnections: number;
  readonly maxHeaders: number;
  readonly rateLimit: RateLimit | undefined;
  /** Whether every request but the open ones wants a key. */
  readonly keyRequired: boolean;
}

/** An OpenAPI 3.1 document. */
export type ContractDocument = ReturnType<typeof createDocument>;

/**
 * The OpenAPI document of this daemon, under its limits. What makes it is loaded only now: nobody should wait for
 * it at boot.
 */
export async function openapiDocument(settings: ContractSettings): Promise<ContractDocument> {
  const [library, { contractPaths, TAGS }] = await Promise.all([
    import('zod-openapi'),
    import('../api/contract.js'),
  ]);
  const { version, keyRequired } = settings;
  return library.createDocument(
    {
      openapi: '3.1.1',
      info: {
        title: 'ai-router',
        version,
        description: describe(settings),
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      tags: [...TAGS],
      security: [...(keyRequired ? [] : [{}]), { bearer: [] }],
      paths: contractPaths(settings, settings.model),
      components: {
        securitySchemes: {
          bearer: {
            type: 'http',
            scheme: 'bearer',
            description: 'One of `API_KEYS` or `ADMIN_KEYS`; admin operations take the latter only.',
          },
        },
      },
    },
    { reused: 'inline' },
  );
}

function describe(settings: ContractSettings): string {
  const { model, maxTextChars, maxBatch, maxBodyBytes, maxQueue, maxConnections, maxHeaders, rateLimit } =
    settings;
  const rate = rateLimit
    ? `${rateLimit.requests} requests of one client in ${rateLimit.seconds} s`
    : 'any number of requests';
  return `Errors are problem documents (RFC 9457) that name every wrong field. A known path with another method
answers 405 with \`Allow\`; what does not arrive in time 408, and heads that are too large or ask for what is not
met 431 and 417.

Limits of this daemon, by setting: a text may have ${maxTextChars} characters (\`MAX_TEXT_CHARS\`), a batch
${maxBatch} texts (\`MAX_BATCH\`), a body ${maxBodyBytes} bytes (\`MAX_BODY_BYTES\`). Clients (a key, or an
address without one) take turns at the model. What would wait longer than \`MAX_QUEUE_MS\`, by the work before it, or
come after \`REQUEST_TIMEOUT_MS\`, gets 503 with \`Retry-After\`; so does what finds ${maxQueue} texts waiting
(\`MAX_QUEUE\`), unless its client has few of them.
${maxConnections} connections may be open (\`MAX_CONNECTIONS\`), and a request may have ${maxHeaders} headers
(\`MAX_HEADERS\`). Texts longer than ${model.maxTokens} tokens are cut, and
\`usage.truncated_tokens\` says by how much. It takes ${rate} (\`RATE_LIMIT\`); where there is a limit, answers
carry \`RateLimit\` and \`RateLimit-Policy\`, and whoever crosses it gets 429 with \`Retry-After\`.`;
}

/** `GET /openapi.json`: made when it is first asked for. */
export function openapiRoutes(router: Router, settings: ContractSettings): void {
  let text: Promise<string> | undefined;
  router.get('/openapi.json', async (context) => {
    text ??= openapiDocument(settings).then((document) => `${JSON.stringify(document, null, 2)}\n`);
    context.type = 'application/json';
    context.body = await text;
  });
}
