import type { ProblemBody } from '../src/api/problem.js';
import { ADMIN_KEY, type Input } from './inputs/input.js';
import type { Answer } from './wire.js';

/** A refusal names what is wrong; it does not send the request back. */
const MAX_REFUSAL_BYTES = 65_536;

/** What must stand in no answer. */
export interface Secrets {
  readonly volume: string;
}

/** @throws Error that says in which way the answer to an input is wrong */
export function judge(input: Input, answer: Answer | undefined, { volume }: Secrets): void {
  if (!answer) {
    if (input.mayBeSilent) return;
    throw new Error('closed without an answer');
  }
  const { status, headers, body } = answer;
  const text = body.toString('utf8');
  if (!input.statuses.includes(status)) throw new Error(`${status} ${text.slice(0, 300)}`);
  if (headers.get('x-request-id') === undefined) throw new Error(`${status} without X-Request-Id`);
  if (input.head || status < 400) return;
  if (body.length > MAX_REFUSAL_BYTES) throw new Error(`a refusal of ${body.length} bytes`);
  const type = headers.get('content-type');
  if (type?.startsWith('application/problem+json')) judgeProblem(answer, text);
  else if (!type?.startsWith('application/json') || !isForeignError(text))
    throw new Error(`${status} as ${type}`);
  for (const secret of [volume, process.cwd(), ADMIN_KEY, 'node_modules', 'file:///', '\\n    at ']) {
    if (text.includes(secret)) throw new Error(`the answer says "${secret}": ${text.slice(0, 300)}`);
  }
}

function judgeProblem({ status, headers }: Answer, text: string): void {
  const problem = JSON.parse(text) as ProblemBody;
  if (problem.status !== status) throw new Error(`the document says ${problem.status}, the answer ${status}`);
  if (problem.instance !== headers.get('x-request-id')) throw new Error('instance is not the request id');
  if (!/^[a-z_]+$/.test(problem.code) || problem.title === '' || problem.detail === '') {
    throw new Error(`no code, title or detail: ${text.slice(0, 300)}`);
  }
}

/** An error as OpenAI's API or Text Embeddings Inference has it, on their paths. */
function isForeignError(text: string): boolean {
  const { error } = JSON.parse(text) as { error?: string | { message?: string } };
  return typeof error === 'string' || typeof error?.message === 'string';
}
