import * as z from 'zod';
import type { RequestLimits } from '../../api/limits.js';
import { type Message, type Turn, turnsOf, turnsOfState } from '../../scoring/messages.js';
import { AppError } from '../../shared/errors.js';
import { readJson } from '../body.js';
import type { Endpoint } from '../openapi.js';
import { type RequestContext, withDeadline } from '../request.js';
import { type ClassifyPorts, inputOf } from './classify.js';

const HEADERS = {
  'X-AI-Router-Route': z
    .string()
    .meta({ description: 'The route, percent-encoded where it is not ASCII; empty where none was chosen' }),
  'X-AI-Router-Score': z
    .string()
    .meta({ description: 'The score of the route; empty where there was no text' }),
};

const QUERY = z.object({
  text: z.string().optional().meta({ description: 'The text; without it, the text of the JSON body' }),
});

/**
 * `/decision`: the decision in headers, for gateways that ask before they forward (Envoy `ext_authz`, Traefik
 * ForwardAuth, nginx `auth_request`). They send the path and method of the request that they hold, so that any path below
 * is answered alike, and a request without a text passes.
 */
export function decisionEndpoints({ maxTextChars }: RequestLimits): Endpoint<ClassifyPorts>[] {
  const handle = async (context: RequestContext, ports: ClassifyPorts): Promise<void> => {
    const { classifier, metrics, requestTimeoutMs } = ports;
    const turns = await turnsIn(context, ports);
    let route: string | null = null;
    let score = '';
    if (turns.length > 0) {
      // The model reads the first few hundred tokens, so that nothing is lost.
      const input = inputOf(turns, 'messages', maxTextChars);
      const answer = await withDeadline(context, requestTimeoutMs, (call) =>
        classifier.classify(input, call),
      ).catch((error: unknown) => {
        // A text without any token is as good as none.
        if (error instanceof AppError && error.code === 'validation_failed') return undefined;
        throw error;
      });
      if (answer) {
        const { decision, usage } = answer;
        metrics.read(usage);
        metrics.decided(decision.route, 'routes');
        route = decision.route;
        score = String(decision.score);
      }
    }
    // Set even if empty: gateways then overwrite what the client itself sent under these names.
    context.set('X-AI-Router-Route', encodeURI(route ?? ''));
    context.set('X-AI-Router-Score', score);
    context.set('Cache-Control', 'no-store');
    context.status = 200;
    context.body = '';
  };
  const endpoint = { access: 'key', inference: true, handle } as const;
  const described = {
    ...endpoint,
    path: '/decision',
    tag: 'Classification',
    params: { query: QUERY },
    answers: {
      200: {
        description: 'The decision; the headers are empty where the request has no text',
        headers: z.object(HEADERS),
      },
    },
    problems: [400, 413],
  } as const;
  return [
    {
      ...described,
      method: 'GET',
      id: 'decision',
      summary: 'Classifies a text and answers in headers, for gateways',
    },
    {
      ...described,
      method: 'POST',
      id: 'decisionOfBody',
      summary: 'The same; the text is taken from the body if the query has none',
      // Of gateways that forward it; anything else than JSON holds no text.
      body: { content: { 'application/json': { schema: z.unknown() } } },
    },
    { ...endpoint, method: 'GET', path: '/decision/{path+}' },
    { ...endpoint, method: 'POST', path: '/decision/{path+}' },
  ];
}

/** Returns the text of the query, or of a body as chat, completion and embedding APIs take it; none where there is none. */
async function turnsIn(context: RequestContext, ports: ClassifyPorts): Promise<readonly Turn[]> {
  const { text } = context.query;
  if (typeof text === 'string') return turnsOfState(text.trim());
  // Clients name a type also where they send nothing.
  if (context.request.length === 0 || !context.is('application/json', '+json')) return [];
  const body = await readJson(context, z.unknown(), ports);
  if (typeof body !== 'object' || body === null) return [];
  const fields: { text?: unknown; prompt?: unknown; input?: unknown; messages?: unknown } = body;
  const plain = [fields.text, fields.prompt, fields.input].find((each) => typeof each === 'string');
  if (typeof plain === 'string') return turnsOfState(plain.trim());
  return Array.isArray(fields.messages) ? turnsOf(fields.messages.filter(isMessage)) : [];
}

function isMessage(value: unknown): value is Message {
  return typeof value === 'object' && value !== null && 'role' in value && typeof value.role === 'string';
}
