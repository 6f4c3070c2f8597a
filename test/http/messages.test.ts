import { describe, expect, it } from 'vitest';
import { classifyAnswers, type Decision, type Decisions } from '../../src/api/classify.js';
import { PREVIOUS_SHARE } from '../../src/scoring/messages.js';
import { SMALL, useDaemon } from '../support/daemon.js';

const PRIVATE = 'bluebottle';
const TEXT = 'turn on the lights';
/** Says nothing without the turn before it. */
const FOLLOW_UP = 'and the other one?';

const daemon = useDaemon({ ...SMALL, LOG_LEVEL: 'trace', MAX_TEXT_CHARS: '200', MAX_BATCH: '4' });

const user = (content: unknown) => ({ role: 'user', content });
const assistant = (content: unknown) => ({ role: 'assistant', content });

async function classify(messages: unknown, options: object = {}): Promise<Decision> {
  const { status, body } = await daemon.post('/classify', { messages, ...options });
  expect([status, body]).toEqual([200, expect.anything()]);
  return classifyAnswers.single.parse(body) as Decision;
}

async function classifyText(text: string): Promise<Decision> {
  return (await daemon.post<Decision>('/classify', { text })).body;
}

describe('messages of /classify', () => {
  it('are decided by the last turn of the user, as its text is', async () => {
    const messages = [
      { role: 'system', content: 'play music' },
      user('set the temperature to 21 degrees'),
      { role: 'assistant', content: null, tool_calls: [{ id: 'a', type: 'function' }] },
      { role: 'tool', tool_call_id: 'a', content: 'play music' },
      user([
        { type: 'text', text: '<system-reminder>play music</system-reminder>' },
        { type: 'text', text: TEXT },
      ]),
      { role: 'developer', content: 'play music' },
    ];
    const { turns, ...decision } = await classify(messages);
    expect(turns).toEqual([{ message: 4, share: 1 }]);
    expect(decision).toEqual(await classifyText(TEXT));
  });

  it('take the turn before it in where it reaches no threshold, and say so', async () => {
    const alone = await classify([user(FOLLOW_UP)], { explain: true });
    expect(alone).toMatchObject({ route: null, turns: [{ message: 0, share: 1, text: FOLLOW_UP }] });
    const messages = [user(TEXT), assistant('In the kitchen?'), user(`${FOLLOW_UP}<context>x</context>`)];
    const both = await classify(messages, { explain: true });
    expect(both).toMatchObject({
      route: 'lights',
      turns: [
        { message: 2, share: 1 - PREVIOUS_SHARE, text: FOLLOW_UP },
        { message: 0, share: PREVIOUS_SHARE, text: TEXT },
      ],
    });
    const previous = await classifyText(TEXT);
    expect(both.usage.tokens).toBe(alone.usage.tokens + previous.usage.tokens);
  });

  it('show 300 characters of a turn, and half of none', async () => {
    const long = `${TEXT} ${'\u{1f4a1}'.repeat(150)} ${'\u0001'.repeat(200)}`;
    const { turns } = await classify([user(long)], { explain: true });
    expect(turns?.[0]?.text).toBe([...long].slice(0, 300).join(''));
  });

  it('leave a turn alone that is sure, or that the model cannot read', async () => {
    expect(await classify([user('play some jazz'), user(TEXT)])).toMatchObject({
      route: 'lights',
      turns: [{ message: 1, share: 1 }],
    });
    expect(await classify([user(TEXT), user('اكتب لي قصيدة')])).toMatchObject({
      route: null,
      legible: false,
      turns: [{ message: 1, share: 1 }],
    });
  });

  it('take labels, thresholds and several routes', async () => {
    const messages = [user(TEXT)];
    expect(await classify(messages, { labels: ['ships', 'lamps'] })).toMatchObject({
      candidates: [{ route: 'lamps' }, { route: 'ships' }],
    });
    expect(await classify(messages, { threshold: 1 })).toMatchObject({ route: null });
    expect(await classify(messages, { multi: true })).toMatchObject({ routes: [{ route: 'lights' }] });
  });

  it('may be longer than MAX_TEXT_CHARS: a turn is cut there', async () => {
    const long = `${TEXT} ${'please '.repeat(100)}`;
    expect((await daemon.post('/classify', { text: long })).status).toBe(422);
    const { turns: _, ...decision } = await classify([user(long)]);
    expect(decision).toEqual(await classifyText(long.slice(0, 200)));
  });

  it.each<[string, object, string, RegExp]>([
    ['beside a text', { text: TEXT, messages: [user(TEXT)] }, '', /either "text" or "messages"/],
    ['nothing', {}, '', /either "text" or "messages"/],
    ['no message', { messages: [] }, 'messages', /at least one message/],
    ['too many', { messages: Array(2_001).fill(user('a')) }, 'messages', /2000 messages at most/],
    ['no user', { messages: [assistant('a')] }, 'messages', /role "user"/],
    [
      'another role',
      { messages: [{ role: 'human', content: 'a' }] },
      'messages[0].role',
      /system, developer/,
    ],
    [
      'an image',
      { messages: [user([{ type: 'image_url', image_url: { url: 'https://example.org/a.png' } }])] },
      'messages[0].content',
      /reads text only; send no images/,
    ],
    ['sound', { messages: [user([{ type: 'input_audio' }])] }, 'messages[0].content', /send no audio/],
    ['a number', { messages: [user(7)] }, 'messages[0].content', /a text or a list of parts/],
    ['another part', { messages: [user([{ type: 'txt' }])] }, 'messages[0].content', /parts with text/],
  ])('are refused: %s', async (_, request, path, message) => {
    const { status, body } = await daemon.post('/classify', request);
    expect(status).toBe(422);
    expect(body).toMatchObject({
      code: 'validation_failed',
      errors: [{ path, message: expect.stringMatching(message) }],
    });
  });
});

describe('messages of /classify/batch', () => {
  it('are conversations, each decided as alone', async () => {
    const all = [
      [user(TEXT), user(FOLLOW_UP)],
      [user(FOLLOW_UP)],
      [user('play some jazz'), assistant('now playing'), user(FOLLOW_UP)],
    ];
    const { status, body } = await daemon.post<Decisions>('/classify/batch', { messages: all, top_k: 1 });
    expect(status).toBe(200);
    expect(body.results).toEqual(await Promise.all(all.map((each) => classify(each, { top_k: 1 }))));
    expect(body.results.map(({ turns }) => turns?.length)).toEqual([2, 1, 2]);
  });

  it.each<[string, object, string]>([
    ['beside texts', { texts: [TEXT], messages: [[user(TEXT)]] }, ''],
    ['too many', { messages: Array(5).fill([user(TEXT)]) }, 'messages'],
    ['one without a user', { messages: [[user(TEXT)], [assistant('a')]] }, 'messages[1]'],
    ['no conversation', { messages: [user(TEXT)] }, 'messages[0]'],
  ])('are refused: %s', async (_, request, path) => {
    const { status, body } = await daemon.post('/classify/batch', request);
    expect(status).toBe(422);
    expect(body).toMatchObject({ errors: [{ path }] });
  });
});

describe('conversations of decision calls', () => {
  const criteria = { lights: null, media: null };

  it('take the turn before in for a choice alone', async () => {
    const state = [user(TEXT), assistant('In the kitchen?'), user(FOLLOW_UP)];
    const ask = async (input: unknown) => {
      const questions = {
        q: { type: 'choice', criteria },
        n: { type: 'noul', instructions: 'This is about light.' },
      };
      const { body } = await daemon.post<{ answers: { q: object; n: object } }>('/v1/systemone', {
        model: 'x',
        state: input,
        questions,
      });
      return body.answers;
    };
    const alone = await ask(FOLLOW_UP);
    expect(alone.q).toMatchObject({ x_abstained: true });
    expect(alone.q).not.toHaveProperty('x_blended');
    const both = await ask(state);
    expect(both.q).toMatchObject({ choice: 'lights', x_abstained: false, x_blended: true });
    expect(both.n).toEqual(alone.n);
    const { body } = await daemon.post<{ answers: object[] }>('/v1/decisions', {
      model: 'x',
      input: state,
      questions: [
        {
          type: 'choice',
          instructions: 'Which?',
          choices: Object.keys(criteria).map((value) => ({ value })),
        },
      ],
    });
    expect(body.answers[0]).toMatchObject({ type: 'choice', choice: 'lights', x_blended: true });
  });
});

it('no text of a conversation is logged', async () => {
  const messages = [user(`${PRIVATE} a`), assistant(PRIVATE), user(`${PRIVATE} b`)];
  await daemon.post('/classify', { messages, explain: true });
  await daemon.post('/classify/batch', { messages: [messages, messages] });
  await daemon.post('/classify', { messages: [{ role: PRIVATE, content: { [PRIVATE]: PRIVATE } }] });
  await daemon.post('/classify', { messages: [user([{ type: PRIVATE, text: PRIVATE }])] });
  const metrics = await (await fetch(`${daemon.url}/metrics`)).text();
  expect(JSON.stringify(daemon.lines) + daemon.stderr() + metrics).not.toContain(PRIVATE);
});
