import { describe, expect, it } from 'vitest';
import type { Embedding } from '../../src/inference/embedder.js';
import { blended, canBlend, type Message, turnsOf, turnsOfState } from '../../src/scoring/messages.js';

const user = (content: Message['content']): Message => ({ role: 'user', content });
const textOf = (content: Message['content']): string | undefined => turnsOf([user(content)])[0]?.text;

describe('the turns of a conversation', () => {
  it('are the last one of the user and the one before it', () => {
    const messages = [
      { role: 'developer', content: 'You are a router.' },
      user('first'),
      { role: 'assistant', content: 'well' },
      user('second'),
      { role: 'assistant', content: null },
      { role: 'tool', content: 'a result' },
      user([{ type: 'text', text: 'third' }]),
      { role: 'function', content: 'another result' },
      { role: 'system', content: 'mind the rules' },
    ];
    expect(turnsOf(messages)).toEqual([
      { message: 6, text: 'third' },
      { message: 3, text: 'second' },
    ]);
  });

  it('are none where the user says nothing', () => {
    expect(turnsOf([{ role: 'assistant', content: 'hello' }, user('  '), user(null), user([])])).toEqual([]);
  });

  it('leave out those that agents wrote, unless there is no other', () => {
    const reminder = '<system-reminder>read the docs</system-reminder>';
    const result = user([{ type: 'tool_result', content: 'exit 0' }]);
    expect(turnsOf([user('fix the build'), result, user(reminder)])).toEqual([
      { message: 0, text: 'fix the build' },
    ]);
    expect(turnsOf([result, user(reminder)])).toEqual([{ message: 1, text: reminder }]);
  });
});

describe('what agents wrap around a turn', () => {
  it.each<[string, string, string]>([
    ['reminders', '<system-reminder>a <b>c</b></system-reminder>\nwhy?', 'why?'],
    ['a name in other letters', 'why?<Environment_Details>\ncwd\n</Environment_Details>', 'why?'],
    ['attributes', '<file path="a.ts" lines="1-3">x < y</file> explain this', 'explain this'],
    ['elements in one another', '<file><file>a</file>b</file>why?', 'why?'],
    ['one of two that is never closed', '<file>a<file>b</file>why?', 'why?'],
    ['several of them', 'a <context>b</context> c <tool_result>d</tool_result> e', 'a   c   e'],
    [
      'around the words of the user',
      '<context>x</context><user_query>why?</user_query><rules>y</rules>',
      'why?',
    ],
    ['a quoted file', 'explain\n```src/main.ts\nlet a;\n```\nplease', 'explain\nplease'],
    ['a quoted range', 'explain\n```12:40:src/main.ts\nlet a;\n```', 'explain'],
  ])('is dropped: %s', (_, content, text) => {
    expect(textOf(content)).toBe(text);
  });

  it.each([
    'an element that is never closed: <file>a',
    'a </file> that never began',
    'other elements: <b>bold</b>, a < b, c > d',
    'code of the user:\n```python\nprint(1)\n```',
    'a fence that is never closed:\n```src/main.ts\nlet a;',
  ])('is not %s', (content) => {
    expect(textOf(content)).toBe(content);
  });

  // A name that was looked at again from each of its letters, or a fence from each of its lines, would take minutes.
  it.each(['<', '<a', '<file>', '</file>', '<file', '```a/b\n', 'a'])(
    'takes time in proportion to the text: %j',
    (piece) => {
      const text = `<${piece.repeat(400_000 / piece.length)}`;
      expect(textOf(text)).toBe(text.trim());
    },
  );
});

describe('the text of a state', () => {
  it('is its strings in their order, or the turns of a conversation', () => {
    expect(turnsOfState({ a: 'x', b: [1, 'y', { c: 'z' }], d: null })).toEqual([
      { message: 0, text: 'x\ny\nz' },
    ]);
    expect(
      turnsOfState([
        { role: 'user', content: 'a' },
        { role: 'assistant', content: 'b' },
      ]),
    ).toEqual([{ message: 0, text: 'a' }]);
    expect(turnsOfState({ a: 3 })).toEqual([]);
  });
});

describe('a turn that is taken in', () => {
  const embedding = (vector: number[], legibility: Embedding['legibility'] = 'legible'): Embedding => ({
    vector: Float32Array.from(vector),
    tokens: 3,
    truncatedTokens: 1,
    legibility,
    timing: { queueMs: 0, tokenizeMs: 0, inferenceMs: 0 },
  });

  it('has its share of a vector of length 1, and its tokens count', () => {
    const both = blended(embedding([1, 0]), embedding([0, 1]), 0.25);
    expect(both?.vector[0]).toBeCloseTo(0.75 / Math.hypot(0.75, 0.25));
    expect(both?.vector[1]).toBeCloseTo(0.25 / Math.hypot(0.75, 0.25));
    expect(both).toMatchObject({ tokens: 6, truncatedTokens: 2 });
  });

  it('helps short ones alone', () => {
    expect(canBlend(embedding([1, 0]), 'and what about the trousers?', 'b')).toBe(true);
    expect(canBlend(embedding([1, 0]), 'who won the football game yesterday', 'b')).toBe(false);
  });

  it('is none that the model cannot read, nor helps one that it cannot', () => {
    expect(blended(embedding([1, 0]), embedding([0, 1], 'illegible'))).toBeUndefined();
    expect(canBlend(embedding([1, 0], 'illegible'), 'a', 'b')).toBe(false);
    expect(canBlend(embedding([1, 0]), 'a', 'b')).toBe(true);
    expect(canBlend(embedding([1, 0]), 'a', undefined)).toBe(false);
    expect(canBlend(embedding([1, 0]), 'a', 'a')).toBe(false);
  });
});
