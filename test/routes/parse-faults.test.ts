import { describe, expect, it } from 'vitest';
import { parseRouteSet } from '../../src/routes/parse.js';
import { AppError } from '../../src/shared/errors.js';

function faultOf(text: string, origin = 'routes.yaml'): AppError {
  try {
    parseRouteSet(text, { origin });
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
  throw new Error('this text should have been refused');
}

type Case = [what: string, text: string, where: string, message: string];

/** Expects a line of the error that names this place and holds this message. */
function expectFault(text: string, origin: string, where: string, message: string): void {
  const error = faultOf(text, origin);
  expect(error.code).toBe('routes_invalid');
  const line = error.message.split('\n').find((candidate) => candidate.includes(message));
  expect(line?.startsWith(`${origin}:${where}: `), error.message).toBe(true);
}

describe('a broken route set', () => {
  const named = (rest: string) => `routes:\n  - name: a\n${rest}`;
  const one = (rest: string) => named(`    utterances: [x]\n${rest}`);
  const cases: Case[] = [
    ['an unclosed list', named('    utterances: [x, y\n'), '4:1', 'not YAML'],
    ['a tab as indent', 'routes:\n\t- name: a', '2:1', 'not YAML: a tab'],
    ['a second document', 'routes: []\n---\nroutes: []\n', '2:1', 'not YAML'],
    ['a custom tag', one('    metadata: { a: !!js/function "x" }\n'), '4:20', 'not YAML: a tag'],
    ['a binary', one('    metadata: { a: !!binary aGk= }\n'), '4:20', 'a tag of a type'],
    ['a repeated key', one('    name: b\n'), '4:5', 'the key "name" is repeated'],
    ['a merge key', one('    <<: {}\n'), '4:5', 'merge keys'],
    ['an unknown alias', 'routes: *nowhere\n', '1:9', 'the alias *nowhere has no anchor'],
    ['an alias of itself', 'routes: &a [*a]\n', '1:13', 'contains itself'],
    ['an empty file', '', '1:1', 'must be a mapping with "routes", not nothing'],
    ['a text', 'hello', '1:1', 'must be a mapping with "routes", not text'],
    ['no routes', '{}', '1:1', 'routes: is missing'],
    ['an empty list', 'routes: []', '1:9', 'routes: must hold at least one route'],
    [
      'a misspelt field',
      one('    utterance: [y]\n'),
      '4:5',
      'unknown field "utterance"; did you mean "utterances"?',
    ],
    ['an unknown field', one('    foo: 1\n'), '4:5', 'unknown field "foo"; known are name,'],
    ['a misspelt top field', 'route:\n  - name: a\n', '1:1', 'unknown field "route"; did you mean "routes"?'],
    ['a route that is text', 'routes:\n  - a\n', '2:5', ':5: must be a mapping'],
    ['no name', 'routes:\n  - utterances: [x]\n', '2:5', ':5: name: is missing'],
    [
      'a number as name',
      'routes:\n  - name: 42\n    utterances: [x]\n',
      '2:11',
      'not the number 42; if it is a text, quote it',
    ],
    ['an empty name', 'routes:\n  - name: " "\n    utterances: [x]\n', '2:11', 'must not be empty'],
    [
      'a name with a line break',
      'routes:\n  - name: "a\\nb"\n    utterances: [x]\n',
      '2:11',
      'control characters',
    ],
    [
      'a name taken',
      one('  - name: a\n    utterances: [y]\n'),
      '4:11',
      'name: "a" is already the name of another route',
    ],
    ['no utterances', named(''), '2:5', ':5: utterances: is missing'],
    ['empty utterances', named('    utterances: []\n'), '3:17', 'at least one utterance'],
    ['nothing as utterances', named('    utterances:\n'), '3:16', 'must be a list of texts, not nothing'],
    ['a text as utterances', named('    utterances: hi\n'), '3:17', 'a list of texts, not text'],
    [
      'an empty utterance',
      named('    utterances:\n      - x\n      - ""\n'),
      '5:9',
      ':9: utterances[1]: must not be empty',
    ],
    [
      'a yes that is true',
      named('    utterances: [true]\n'),
      '3:18',
      'not the boolean true; if it is a text, quote it',
    ],
    [
      'a long utterance',
      named(`    utterances:\n      - ${'x'.repeat(4097)}\n`),
      '4:9',
      'has 4097 characters',
    ],
    ['half a pair', named('    utterances: ["\\uD800"]\n'), '3:18', 'surrogate'],
    ['a threshold above 1', one('    score_threshold: 1.5\n'), '4:22', 'from 0 to 1, not the number 1.5'],
    [
      'another threshold above 1',
      one('    score_threshold: 0.5\n    confidence_threshold: 2\n'),
      '5:27',
      'from 0 to 1, not the number 2',
    ],
    ['a threshold in quotes', one('    score_threshold: "0.5"\n'), '4:22', 'from 0 to 1, not text'],
    ['no number', one('    score_threshold: .nan\n'), '4:22', 'from 0 to 1'],
    ['a list as metadata', one('    metadata: [1]\n'), '4:15', 'must be a mapping, not a list'],
    [
      'an infinite number',
      one('    metadata:\n      a: [.inf]\n'),
      '5:11',
      ':11: metadata.a[0]: must be a finite number',
    ],
    [
      'long metadata',
      one(`    metadata: { a: ${'x'.repeat(17_000)} }\n`),
      '4:15',
      'more than 16384 characters',
    ],
  ];
  it.each(cases)('with %s is refused', (_what, text, where, message) => {
    expectFault(text, 'routes.yaml', where, message);
  });

  const json: Case[] = [
    [
      'a missing comma',
      '{\n "routes": [\n  {"name": "a" "utterances": ["x"]}\n ]\n}',
      '3:16',
      'unexpected "\\""',
    ],
    ['a bare word', '{\n "routes": nope\n}', '2:12', 'unexpected "n"'],
    ['a trailing comma', '{"routes": [\n 1,\n]}', '3:1', 'unexpected "]"'],
    ['an end too early', '{"routes": [\n', '2:1', 'the text ends'],
    ['text after the end', '{}\n{}', '2:1', 'unexpected "{"'],
    ['a comment', '{ // no\n}', '1:3', 'unexpected "/"'],
    ['a repeated key', '{"routes": [],\n "routes": []}', '2:2', 'the key "routes" is repeated'],
    ['an unclosed string', '{"routes": "x\n}', '2:2', 'the text ends'],
    ['a bad escape', '{"routes": "\\x"}', '1:13', 'unexpected "\\\\"'],
    [
      'a wrong type',
      '{"routes": [\n\t{"name": "a", "utterances": [1]}]}',
      '2:31',
      'routes[0].utterances[0]: must be text',
    ],
    ['endless nesting', '['.repeat(100_000), '1:1', 'nested far too deeply'],
  ];
  it.each(json)('in JSON with %s is refused', (_what, text, where, message) => {
    expectFault(text, 'r.json', where, message);
  });

  it('names all its faults in order, with path and place in issues', () => {
    const error = faultOf('routes:\n  - name: a\n    utterances: []\n  - nam: b\n    utterances: [1, x]\n');
    expect(error.message.split('\n')).toHaveLength(3);
    expect(error.issues).toEqual([
      { path: 'routes[0].utterances', message: 'must hold at least one utterance', line: 3, column: 17 },
      { path: 'routes[1]', message: 'unknown field "nam"; did you mean "name"?', line: 4, column: 5 },
      expect.objectContaining({ path: 'routes[1].utterances[0]', line: 5, column: 18 }),
    ]);
    const many = faultOf(`routes:\n${'  - x\n'.repeat(500)}`);
    expect(many.issues).toHaveLength(50);
    expect(many.message).toContain('… and 490 more');
  });

  it('is refused for its size: routes, utterances', () => {
    const routes = Array.from({ length: 2_001 }, (_, index) => ({ name: `r${index}`, utterances: ['x'] }));
    expect(faultOf(JSON.stringify({ routes }), 'r.json').message).toContain('has 2001 routes');
    const utterances = Array.from({ length: 60_000 }, (_, index) => `u${index}`);
    const two = [
      { name: 'a', utterances },
      { name: 'b', utterances },
    ];
    expect(faultOf(JSON.stringify({ routes: two }), 'r.json').issues).toEqual([
      expect.objectContaining({ path: 'routes[1].utterances', message: expect.stringContaining('100000') }),
    ]);
  });

  it('names faults briefly, however much of the text the parser quotes', () => {
    const error = faultOf(': - ? ! & * | > % @'.repeat(20_000));
    expect(error.issues.length).toBeGreaterThan(0);
    for (const { message } of error.issues) expect(message.length).toBeLessThanOrEqual(500);
    expect(error.message.length).toBeLessThan(50 * 600);
  });

  // What made it work for ever would outlast this limit by far, on however fast a machine.
  it('cannot make the reader work for ever', { timeout: 180_000 }, () => {
    const bomb = [
      'a0: &a0 [x, x]',
      ...Array.from({ length: 60 }, (_, i) => `a${i + 1}: &a${i + 1} [*a${i}, *a${i}]`),
    ];
    const metadata = bomb.map((line) => `      ${line}\n`).join('');
    const error = faultOf(`routes:\n  - name: a\n    utterances: [x]\n    metadata:\n${metadata}`);
    expect(error.message).toContain('more than 16384 characters');
    const keys = Array.from({ length: 200_000 }, (_, index) => `k${index}: 1\n`).join('');
    expect(faultOf(keys).message).toContain('… and 199991 more');
    expect(faultOf(`a: ${'{a: '.repeat(3_000)}1${'}'.repeat(3_000)}`).message).toContain('nested');
    expect(faultOf('- '.repeat(50_000)).message).toContain('nested far too deeply');
  });
});
