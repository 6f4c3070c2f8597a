import { describe, expect, it } from 'vitest';
import { systemOneError } from '../../src/api/decisions.js';
import { openAiError } from '../../src/api/embeddings.js';
import { teiError } from '../../src/api/tei.js';
import { SMALL, useDaemon } from '../support/daemon.js';

/* Texts that say nothing, alone and beside one that does, as each dialect refuses them; labels, options and levels, too. */

const GOOD = 'a ship';

const NOTHING: readonly (readonly [name: string, text: string])[] = [
  ['empty', ''],
  ['blank', ' \t\n '],
  ['a zero-width space', '\u200b'],
  ['a lone combining mark', '\u0301'],
  ['a replacement character', '\ufffd'],
  ['several of them', '\u200b \ufffd\u200d'],
];

const user = (content: string) => ({ role: 'user', content });
const noul = { n: { type: 'noul', instructions: 'It floats.' } };
const predicate = [{ type: 'predicate', instructions: 'It floats.' }];

type Request = (text: string) => unknown;

/** A call of `/v1/decisions` with a good question before the one that is refused. */
function decides(question: Request, at: string): readonly [path: string, request: Request, at: string] {
  const questions = (text: string) => [...predicate, question(text)];
  return [
    '/v1/decisions',
    (text) => ({ model: 'x', input: GOOD, questions: questions(text) }),
    `questions[1].${at}`,
  ];
}

/** Endpoints of each dialect, and where the text is that is refused. */
const PROBLEM: readonly (readonly [path: string, request: Request, at: string])[] = [
  ['/classify', (text) => ({ text }), 'text'],
  ['/classify', (text) => ({ messages: [user(text)] }), 'messages'],
  ['/classify/batch', (text) => ({ texts: [GOOD, text] }), 'texts[1]'],
  ['/classify/batch', (text) => ({ messages: [[user(GOOD)], [user(text)]] }), 'messages[1]'],
  ['/classify', (text) => ({ text: GOOD, labels: ['boats', text] }), 'labels[1]'],
  ['/classify', (name) => ({ text: GOOD, labels: [{ name }] }), 'labels[0].name'],
  [
    '/classify/batch',
    (description) => ({ texts: [GOOD], labels: ['a', { name: 'boats', description }] }),
    'labels[1].description',
  ],
  [
    '/classify',
    (text) => ({ text: GOOD, labels: [{ name: 'boats', utterances: ['a boat', text] }] }),
    'labels[0].utterances[1]',
  ],
];
const OPENAI: typeof PROBLEM = [
  ['/v1/embeddings', (input) => ({ input }), 'input'],
  ['/v1/embeddings', (text) => ({ input: [GOOD, GOOD, text] }), 'input[2]'],
  ['/embeddings', (text) => ({ input: [text, GOOD] }), 'input[0]'],
  ['/v1/decisions', (input) => ({ model: 'x', input, questions: predicate }), 'input'],
  ['/v1/decisions', (text) => ({ model: 'x', input: [user(text)], questions: predicate }), 'input'],
  decides((instructions) => ({ type: 'predicate', instructions }), 'instructions'),
  decides((text) => ({ type: 'predicate', instructions: [{ type: 'input_text', text }] }), 'instructions'),
  decides(
    (value) => ({ type: 'choice', instructions: '?', choices: [{ value: 'a' }, { value }] }),
    'choices[1].value',
  ),
  decides(
    (label) => ({ type: 'score', instructions: '?', levels: [{ label: 'a' }, { label }] }),
    'levels[1].label',
  ),
];
const TEI: typeof PROBLEM = [
  ['/embed', (inputs) => ({ inputs }), 'inputs'],
  ['/embed', (text) => ({ inputs: [GOOD, text] }), 'inputs[1]'],
  ['/', (text) => ({ inputs: [text] }), 'inputs[0]'],
  [
    '/similarity',
    (text) => ({ inputs: { source_sentence: text, sentences: [GOOD] } }),
    'inputs.source_sentence',
  ],
  [
    '/similarity',
    (text) => ({ inputs: { source_sentence: GOOD, sentences: [GOOD, text] } }),
    'inputs.sentences[1]',
  ],
  ['/predict', (inputs) => ({ inputs }), 'inputs'],
  ['/predict', (text) => ({ inputs: [[GOOD], [text]] }), 'inputs[1][0]'],
];
const SYSTEM_ONE: readonly (readonly [path: string, request: Request, at: readonly (string | number)[]])[] = [
  ['/v1/systemone', (state) => ({ model: 'x', state, questions: noul }), ['body', 'state']],
  ['/v1/systemone', (text) => ({ model: 'x', state: [{ a: text }], questions: noul }), ['body', 'state']],
  ['/v1/systemone', (text) => ({ model: 'x', state: [user(text)], questions: noul }), ['body', 'state']],
  [
    '/v1/systemone',
    (text) => ({ model: 'x', state: GOOD, questions: { s: { type: 'score', criteria: ['a', text] } } }),
    ['body', 'questions', 's', 'criteria', 1],
  ],
];

const daemon = useDaemon(SMALL);

describe.each(NOTHING)('a text that is %s', (_, text) => {
  it.each(PROBLEM)('POST %s (%#) names its place', async (path, request, at) => {
    const { status, body } = await daemon.post(path, request(text));
    expect(status).toBe(422);
    expect(body).toMatchObject({ code: 'validation_failed', errors: [{ path: at }] });
    expect((await daemon.post(path, request(GOOD))).status).toBe(200);
  });

  it.each(OPENAI)("POST %s (%#) names its place in OpenAI's shape", async (path, request, at) => {
    const { status, body } = await daemon.post(path, request(text));
    expect(status).toBe(400);
    expect(openAiError.parse(body).error).toMatchObject({ type: 'invalid_request_error', param: at });
    expect((await daemon.post(path, request(GOOD))).status).toBe(200);
  });

  it.each(TEI)(
    'POST %s (%#) names its place in the shape of Text Embeddings Inference',
    async (path, request, at) => {
      const { status, body } = await daemon.post(path, request(text));
      expect(status).toBe(422);
      const { error, error_type: type } = teiError.parse(body);
      expect([type, error.split(': ')[0]]).toEqual(['Validation', at]);
      expect((await daemon.post(path, request(GOOD))).status).toBe(200);
    },
  );

  it.each(SYSTEM_ONE)('POST %s (%#) names its place in its shape', async (path, request, loc) => {
    const { status, body } = await daemon.post(path, request(text));
    expect(status).toBe(422);
    expect(systemOneError.parse(body).detail).toMatchObject([{ loc }]);
    expect((await daemon.post(path, request(GOOD))).status).toBe(200);
  });

  it('has tokens all the same for /tokenize, and none for /decode', async () => {
    expect((await daemon.post('/tokenize', { inputs: [text] })).status).toBe(200);
    expect(await daemon.post('/decode', { ids: [101, 102] })).toMatchObject({ status: 200, body: [''] });
  });

  it('passes a gateway that asks /decision, without a route', async () => {
    const body = JSON.stringify({ messages: [user(text)] });
    const headers = { 'content-type': 'application/json' };
    for (const { status, headers: given } of [
      await fetch(`${daemon.url}/decision/v1/chat/completions`, { method: 'POST', headers, body }),
      await fetch(`${daemon.url}/decision?text=${encodeURIComponent(text)}`),
    ]) {
      expect(status).toBe(200);
      expect(given.get('x-ai-router-route')).toBe('');
    }
  });
});
