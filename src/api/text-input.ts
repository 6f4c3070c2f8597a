import * as z from 'zod';
import type { RequestLimits } from './limits.js';
import { textOf } from './schema.js';

/** One text or several, as embedding APIs take them. */
export function textInput(limits: RequestLimits) {
  const text = textOf(limits.maxTextChars, 'MAX_TEXT_CHARS');
  const tooMany = `may hold ${limits.maxBatch} texts at most (MAX_BATCH)`;
  const texts = z.array(text).min(1, 'must hold at least one text').max(limits.maxBatch, tooMany);
  return z.union([text, texts], { error: ({ input }) => explain(input) ?? tooMany });
}

/** What is wrong with an input that is neither a text nor an array of texts; nothing, where only its length is. */
function explain(input: unknown): string | undefined {
  if (!Array.isArray(input)) return 'must be a string or an array of strings';
  if (input.every((item) => typeof item === 'number' || Array.isArray(item))) {
    return (
      'holds token ids, which are numbers of another tokenizer; send the texts themselves ' +
      '(with LangChain: check_embedding_ctx_length=False)'
    );
  }
  const index = input.findIndex((item) => typeof item !== 'string');
  if (index === -1) return undefined;
  return `must be a string or an array of strings, but item ${index} is ${nameOf(input[index])}`;
}

function nameOf(value: unknown): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'an array' : `of type ${typeof value}`;
}

/** The texts of an input. */
export function textsOf(input: string | readonly string[]): readonly string[] {
  return typeof input === 'string' ? [input] : input;
}
