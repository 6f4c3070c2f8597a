import OpenAI from 'openai';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  decisionResponse,
  type SystemOneResponse,
  systemOneError,
  systemOneResponse,
} from '../../src/api/decisions.js';
import { SMALL, useDaemon } from '../support/daemon.js';
import { metricOf } from '../support/metric.js';

const TEXT = 'switch the lamp in the kitchen on, please';
const PRIVATE = 'bluebottle';

const daemon = useDaemon({ ...SMALL, LOG_LEVEL: 'trace' });
let client: OpenAI;
let routes: readonly string[];

beforeAll(async () => {
  client = new OpenAI({ baseURL: `${daemon.url}/v1`, apiKey: 'none', maxRetries: 0 });
  const { body } = await daemon.get<{ routes: { name: string }[] }>('/routes');
  routes = body.routes.map(({ name }) => name);
});

async function ask(questions: object, state: unknown = TEXT): Promise<SystemOneResponse> {
  const { status, body } = await daemon.post('/v1/systemone', { model: 'jev-latest', state, questions });
  expect(status).toBe(200);
  return systemOneResponse.parse(body);
}

const NOUL = { type: 'noul', instructions: 'The lamp is to be switched on.' };
const SCORE = { type: 'score', criteria: ['calm', 'angry', 'furious'] };
const CHOICE = { type: 'choice', criteria: { light: 'Lamps and light', music: null } };

function optionsOf(count: number): Record<string, null> {
  return Object.fromEntries(Array.from({ length: count }, (_, index) => [`option ${index}`, null]));
}

describe('POST /v1/systemone', () => {
  it('takes 255 options', async () => {
    const { answers } = await ask({ q: { type: 'choice', criteria: optionsOf(255) } });
    expect(Object.keys(answers.q?.type === 'choice' ? answers.q.probabilities : {})).toHaveLength(255);
  });

  it('asks the scorer of the served routes where the options are routes', async () => {
    const { body: decision } = await daemon.post<{ route: string; score: number; routes_digest: string }>(
      '/classify',
      { text: TEXT },
    );
    const criteria = Object.fromEntries(routes.map((name) => [name, null]));
    const { answers, x_routes_digest } = await ask({ q: { type: 'choice', criteria } });
    expect(answers.q).toMatchObject({
      choice: decision.route,
      x_score: decision.score,
      x_abstained: false,
      x_routes: true,
    });
    expect(x_routes_digest).toBe(decision.routes_digest);
    const off = await ask({ q: { type: 'choice', criteria } }, 'what is the capital of France?');
    expect(off.answers.q).toMatchObject({ x_abstained: true });
  });

  it('asks it about some of the routes, among which the probabilities are shares', async () => {
    const some = routes.slice(0, 2);
    const { body } = await daemon.post<{ candidates: { route: string; score: number }[] }>('/classify', {
      text: TEXT,
      routes: some,
    });
    const criteria = Object.fromEntries(some.map((name) => [name, 'whatever stands here']));
    const { answers } = await ask({ q: { type: 'choice', instructions: 'Which?', criteria } });
    const sum = body.candidates.reduce((total, { score }) => total + score, 0);
    const shares = body.candidates.map(({ route, score }) => [route, expect.closeTo(score / sum, 5)]);
    expect(answers.q).toMatchObject({ x_routes: true, probabilities: Object.fromEntries(shares) });
  });

  it('takes any model, and ignores fields that it does not know', async () => {
    const questions = { q: CHOICE };
    const plain = await daemon.post('/v1/systemone', { model: 'jev-latest', state: TEXT, questions });
    const other = { model: 'gpt-6-luna', state: TEXT, questions, temperature: 0, metadata: { a: 1 } };
    expect((await daemon.post('/v1/systemone', other)).body).toEqual(plain.body);
  });

  it('embeds the state once for all questions', async () => {
    const questions = Object.fromEntries([CHOICE, NOUL, SCORE].map((question, index) => [index, question]));
    // The texts of the options are kept.
    await ask(questions);
    const embedded = () => metricOf(daemon.url, 'ai_router_inference_embedded_total');
    const before = await embedded();
    await ask(questions, 'a text that was never sent before');
    expect(await embedded()).toBe(before + 1);
  });

  it('reads each thing of a description that lists some, and no instructions', async () => {
    const choice = (description: string | null, instructions?: string) => ({
      type: 'choice',
      instructions,
      criteria: { a: description, b: 'Music and films' },
    });
    const shareOf = async (question: object): Promise<number> => {
      const { answers } = await ask({ q: question });
      return answers.q?.type === 'choice' ? (answers.q.probabilities.a ?? 0) : Number.NaN;
    };
    const described = await shareOf(choice('Lamps, light switches and brightness'));
    expect(described).toBeGreaterThan(await shareOf(choice(null)));
    // Each thing is an example: one of several is nearer than all of them together.
    const listed = await shareOf(choice('Lamps, invoices, tax forms and shoes'));
    expect(listed).toBeGreaterThan(await shareOf(choice('Lamps invoices tax forms shoes')));
    // Measured, instructions make no difference beside options, so that they make none here.
    expect(await shareOf(choice('Lamps, light switches and brightness', 'Which device?'))).toBe(described);
  });

  it('answers other options from their names and descriptions', async () => {
    const { answers } = await ask({ q: CHOICE, n: NOUL });
    expect(answers.q).toMatchObject({ type: 'choice', choice: 'light', x_routes: false });
    const other = await ask({ n: NOUL }, 'my tax return is late');
    expect(answers.n).toMatchObject({ type: 'noul', noul: expect.toSatisfy((p: number) => p > 0.5) });
    expect(other.answers.n).toMatchObject({ noul: expect.toSatisfy((p: number) => p < 0.5) });
  });

  it('gives each question the answer that it gets alone, whatever its name', async () => {
    const together = await ask({ a: NOUL, b: SCORE, c: CHOICE });
    expect((await ask({ 'with space': SCORE })).answers['with space']).toEqual(together.answers.b);
    expect((await ask({ c: CHOICE, z: NOUL })).answers.c).toEqual(together.answers.c);
  });

  it('reads the strings of a state in their order, and the last turn of a conversation', async () => {
    const plain = await ask({ c: CHOICE }, 'dear lamp\nturn on');
    expect((await ask({ c: CHOICE }, { subject: 'dear lamp', n: 3, body: ['turn on'] })).answers).toEqual(
      plain.answers,
    );
    const chat = [
      { role: 'user', content: 'play some jazz' },
      { role: 'assistant', content: 'now playing' },
      { role: 'user', content: [{ type: 'text', text: `${TEXT}<system-reminder>music</system-reminder>` }] },
    ];
    expect((await ask({ c: CHOICE }, chat)).answers).toEqual((await ask({ c: CHOICE })).answers);
  });

  it.each<[string, unknown, unknown[]]>([
    ['no JSON', '{"state"', ['body']],
    ['no state', { model: 'x', questions: { n: NOUL } }, ['body', 'state']],
    ['an empty state', { model: 'x', state: { a: 3 }, questions: { n: NOUL } }, ['body', 'state']],
    ['no questions', { model: 'x', state: 'a', questions: {} }, ['body', 'questions']],
    [
      'no level',
      { model: 'x', state: 'a', questions: { 'a b': { type: 'score', criteria: [] } } },
      ['body', 'questions', 'a b', 'criteria'],
    ],
    ...[undefined, '', ' ', {}, []].map((instructions): [string, unknown, unknown[]] => [
      `a noul about ${JSON.stringify(instructions)}`,
      { model: 'x', state: 'a', questions: { n: { type: 'noul', instructions, criteria: { true: '' } } } },
      ['body', 'questions', 'n'],
    ]),
    ...['\u200b', '\ufffd', '  '].map((name): [string, unknown, unknown[]] => [
      `an option named ${JSON.stringify(name)}`,
      {
        model: 'x',
        state: 'a',
        questions: { 'a."b"[c]': { type: 'choice', criteria: { a: null, [name]: 'Light' } } },
      },
      ['body', 'questions', 'a."b"[c]', 'criteria', name],
    ]),
    [
      'an option whose description has no token',
      { model: 'x', state: 'a', questions: { q: { type: 'choice', criteria: { a: null, b: ['\u200b'] } } } },
      ['body', 'questions', 'q', 'criteria', 'b'],
    ],
    [
      'an image in a conversation',
      {
        model: 'x',
        state: [
          { role: 'user', content: 'what is this?' },
          {
            role: 'user',
            content: [
              { type: 'text', text: 'look' },
              { type: 'image_url', image_url: {} },
            ],
          },
        ],
        questions: { n: NOUL },
      },
      ['body', 'state', 1, 'content', 1],
    ],
    [
      'a criterion without a token',
      { model: 'x', state: 'a', questions: { q: { type: 'noul', criteria: { false: '\u200b' } } } },
      ['body', 'questions', 'q', 'criteria', 'false'],
    ],
    [
      'one option',
      { model: 'x', state: 'a', questions: { q: { type: 'choice', criteria: { a: null } } } },
      ['body', 'questions', 'q', 'criteria'],
    ],
    [
      '256 options',
      { model: 'x', state: 'a', questions: { q: { type: 'choice', criteria: optionsOf(256) } } },
      ['body', 'questions', 'q', 'criteria'],
    ],
  ])('refuses %s in its own shape', async (_, request, loc) => {
    const { status, body } = await daemon.post('/v1/systemone', request);
    expect(status).toBe(422);
    expect(systemOneError.parse(body).detail).toMatchObject([{ loc }]);
  });

  it('gives a single level all of it, as the reference does', async () => {
    const { answers } = await ask({ s: { type: 'score', criteria: ['calm'] } });
    const whole = { score: 0, legend: { 0: 'calm' }, probabilities: { 0: 1 }, confidence: 1 };
    expect(answers.s).toEqual({ type: 'score', ...whole });
  });

  it('takes a description that is blank for none, as null', async () => {
    const choice = (description: string | null) => ({
      q: { type: 'choice', criteria: { light: description, music: null } },
    });
    expect((await ask(choice(' '))).answers).toEqual((await ask(choice(null))).answers);
  });

  it('reads no more of a part than its text', async () => {
    const text = { type: 'text', text: TEXT };
    const marked = { ...text, cache_control: { type: 'ephemeral' }, prompt_cache_breakpoint: { mode: 'x' } };
    const answersTo = async (part: object) =>
      (await ask({ c: CHOICE, n: NOUL }, [{ role: 'user', content: [part] }])).answers;
    expect(await answersTo(marked)).toEqual(await answersTo(text));
  });

  it('other errors carry a type and a message', async () => {
    const { status, body } = await daemon.get('/v1/systemone');
    expect(status).toBe(405);
    expect(systemOneError.parse(body).detail).toMatchObject({ error_type: 'method_not_allowed' });
  });
});

describe('POST /v1/decisions, with the client of OpenAI', () => {
  it('answers in order, abstains with a refusal, and keeps booleans', async () => {
    const decision = await client.decisions.create({
      model: 'gpt-6-luna',
      input: [
        { role: 'system', content: 'You are a smart home.' },
        { role: 'user', content: [{ type: 'input_text', text: TEXT }] },
      ],
      questions: [
        { type: 'predicate', name: 'on', instructions: 'The lamp is to be switched on.' },
        { type: 'choice', instructions: 'Where to?', choices: routes.map((value) => ({ value })) },
        {
          type: 'choice',
          name: 'bool',
          instructions: 'Lamp?',
          choices: [
            { value: true, description: 'switch a lamp on' },
            { value: false, description: 'cook pasta' },
          ],
        },
        {
          type: 'score',
          name: 's',
          instructions: 'Mood?',
          levels: [{ label: 'calm' }, { label: 'furious' }],
        },
      ],
    });
    expect(decisionResponse.parse(decision).answers).toMatchObject([
      { type: 'predicate', name: 'on' },
      { type: 'choice', name: null },
      { type: 'choice', name: 'bool', choice: true },
      {
        type: 'score',
        name: 's',
        probabilities: [
          { label: 'calm', value: 0 },
          { label: 'furious', value: 1 },
        ],
      },
    ]);
    const off = await client.decisions.create({
      model: 'gpt-6-luna',
      input: 'what is the capital of France?',
      questions: [
        { type: 'choice', name: 'route', instructions: '?', choices: routes.map((value) => ({ value })) },
      ],
    });
    expect(off.answers).toEqual([{ type: 'refusal', name: 'route' }]);
  });

  it('takes 1 to 400 questions, and counts the tokens of the input', async () => {
    const create = (count: number) =>
      client.decisions.create({
        model: 'gpt-6-luna',
        input: TEXT,
        questions: Array(count).fill({ type: 'predicate', instructions: 'Light?' }),
      });
    const { answers, usage } = await create(400);
    expect(answers).toHaveLength(400);
    expect(usage).toMatchObject({ input_tokens: usage.total_tokens, output_tokens: 0 });
    expect(usage.total_tokens).toBeGreaterThan(5);
    for (const count of [0, 401]) await expect(create(count)).rejects.toMatchObject({ status: 400 });
  });

  it('says that it reads no images', async () => {
    const request = client.decisions.create({
      model: 'gpt-6-luna',
      input: [{ role: 'user', content: [{ type: 'input_image', image_url: 'https://example.org/a.png' }] }],
      questions: [{ type: 'predicate', instructions: 'A cat?' }],
    });
    await expect(request).rejects.toMatchObject({
      status: 400,
      param: 'input[0].content[0].type',
      message: expect.stringMatching(/reads text only; send no images/),
    });
  });

  it('no text of a question or a state is logged', async () => {
    const questions = { [PRIVATE]: { type: 'choice', criteria: { [PRIVATE]: PRIVATE, b: null } } };
    await daemon.post('/v1/systemone', { model: PRIVATE, state: PRIVATE, questions });
    await daemon.post('/v1/systemone', { model: 7, state: PRIVATE, questions });
    expect(JSON.stringify(daemon.lines) + daemon.stderr()).not.toContain(PRIVATE);
  });
});
