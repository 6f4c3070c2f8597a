import fc from 'fast-check';
import { BODY_TARGETS, type Input, requestOf } from './input.js';

const VALID = JSON.stringify({ text: 'what is the weather in Lisbon tomorrow?', top_k: 3 });

/** Bytes that are no text, or no whole one. */
const bytes = fc.oneof(
  { weight: 4, arbitrary: fc.uint8Array({ maxLength: 300 }).map((body) => ({ what: 'random bytes', body })) },
  fc.uint8Array({ minLength: 1, maxLength: 8 }).map((inside) => ({
    what: 'bytes that are hardly UTF-8 in a string',
    body: Buffer.concat([Buffer.from('{"text": "'), inside, Buffer.from([0xc3, 0x28]), Buffer.from('"}')]),
  })),
  fc
    .constantFrom(
      [0xed, 0xa0, 0x80],
      [0xf4, 0x90, 0x80, 0x80],
      [0xc0, 0x80],
      [0xff, 0xfe],
      [0xf8, 0x88, 0x80, 0x80, 0x80],
    )
    .map((sequence) => ({
      what: 'surrogates, overlong forms and what lies beyond Unicode, as UTF-8',
      body: Buffer.concat([Buffer.from('{"text": "a'), Buffer.from(sequence), Buffer.from('"}')]),
    })),
  fc.integer({ min: 0, max: VALID.length - 1 }).map((length) => ({
    what: 'a truncated body',
    body: Buffer.from(VALID.slice(0, length)),
  })),
  fc
    .tuple(fc.integer({ min: 0, max: VALID.length - 1 }), fc.integer({ min: 0x80, max: 0xff }))
    .map(([at, byte]) => {
      const body = Buffer.from(VALID);
      body[at] = byte;
      return { what: 'one byte of a good body replaced', body };
    }),
  fc.constant({ what: 'UTF-16', body: Buffer.from(`\uFEFF${VALID}`, 'utf16le') }),
  fc
    .string({ unit: 'binary', maxLength: 200 })
    .map((text) => ({ what: 'random text', body: Buffer.from(text) })),
  fc
    .array(fc.constantFrom(...'[]{}",:\\/0e-+.ntf \n\t&*!|>?%@`#'), { maxLength: 80 })
    .map((signs) => ({ what: 'syntax without sense', body: Buffer.from(signs.join('')) })),
);

/** Bodies of bytes, for every path that reads one. */
export const BODY_INPUTS: fc.Arbitrary<Input> = fc
  .tuple(fc.constantFrom(...BODY_TARGETS), bytes)
  .map(([target, { what, body }]) =>
    requestOf({
      ...target,
      what: `${what} to ${target.method} ${target.path}`,
      body,
      // An empty body rolls back; nothing was changed, so there is nothing to go back to.
      statuses: target.path === '/routes/rollback' ? [400, 404, 409, 412, 422] : [400, 422],
    }),
  );
