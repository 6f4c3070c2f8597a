import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { parseRouteSet, withoutRoute, withRoute } from '../../src/routes/parse.js';
import { routeSetToJson, routeToJson } from '../../src/routes/set.js';

const parse = (text: string, origin = 'routes.yaml') => parseRouteSet(text, { origin });

const GOOD = `routes:
  - name: billing
    utterances: ["refund me", why was I charged twice]
    score_threshold: 0
    metadata: { model: small }
  - name: fraud
    description: stolen cards
    utterances:
      - somebody stole my card
`;

describe('a route set', () => {
  it('is read from YAML', () => {
    const set = parse(GOOD);
    expect(set.routes.map(routeToJson)).toEqual([
      {
        name: 'billing',
        utterances: ['refund me', 'why was I charged twice'],
        score_threshold: 0,
        metadata: { model: 'small' },
      },
      { name: 'fraud', description: 'stolen cards', utterances: ['somebody stole my card'] },
    ]);
    expect(set.utteranceCount).toBe(3);
    expect(set.indexOf.get('fraud')).toBe(1);
    expect(set.warnings).toEqual([]);
    expect(Object.isFrozen(set.routes[0]?.metadata)).toBe(true);
  });

  it('is the same from JSON, from a bare list, with a byte-order mark and with Windows line ends', () => {
    const { digest, routes } = parse(GOOD);
    const json = JSON.stringify({ routes: routes.map(routeToJson) });
    expect(parse(json, 'routes.json').digest).toBe(digest);
    expect(parse(json).digest).toBe(digest);
    expect(parse(JSON.stringify(routes.map(routeToJson))).digest).toBe(digest);
    expect(parse(`\uFEFF${GOOD}`).digest).toBe(digest);
    expect(parse(GOOD.replaceAll('\n', '\r\n')).digest).toBe(digest);
  });

  it('may name how it is scored, which is part of what it says', () => {
    const named = parse(`method: nearest\n${GOOD}`);
    expect(named.method).toBe('nearest');
    expect(named.digest).not.toBe(parse(GOOD).digest);
    expect(parse(JSON.stringify(routeSetToJson(named)))).toMatchObject({
      method: 'nearest',
      digest: named.digest,
    });
    expect(withRoute(named, named.routes[0] ?? raise()).digest).toBe(named.digest);
    expect(parse(`method:\n${GOOD}`).digest).toBe(parse(GOOD).digest);
  });

  it('may list texts that belong to no route, wherever they stand', () => {
    const texts = 'none: [what is a mortgage, "  open an account "]\n';
    const set = parse(texts + GOOD);
    expect(set.none).toEqual(['what is a mortgage', 'open an account']);
    expect(set.utteranceCount).toBe(3);
    expect(set.digest).not.toBe(parse(GOOD).digest);
    expect(parse(`${GOOD}none: [open an account, what is a mortgage]\n`).digest).toBe(set.digest);
    expect(parse(JSON.stringify(routeSetToJson(set)))).toMatchObject({ none: set.none, digest: set.digest });
    expect(withRoute(set, set.routes[0] ?? raise()).digest).toBe(set.digest);
    expect(withoutRoute(set, 'fraud').none).toEqual(set.none);
  });

  it.each(['none: []\n', 'none:\n'])('is the same with an empty list of such texts: %j', (none) => {
    expect(parse(none + GOOD).digest).toBe(parse(GOOD).digest);
    expect(routeSetToJson(parse(none + GOOD))).not.toHaveProperty('none');
  });

  it('warns of a text that belongs to a route and to none, and of one that stands twice', () => {
    const { none, warnings } = parse(`none:\n  - refund me\n  - other\n  - other\n${GOOD}`);
    expect(none).toEqual(['refund me', 'other']);
    expect(warnings).toEqual([
      { line: 2, column: 5, path: 'none[0]', message: '"refund me" is also an utterance of "billing"' },
      {
        line: 4,
        column: 5,
        path: 'none[2]',
        message: '"other" stands twice under "none"; the second is dropped',
      },
    ]);
  });

  it.each([
    ['none: other\n', /1:7: none: must be a list of texts, not text/],
    ['none:\n  - ok\n  - 3\n', /3:5: none\[1\]: must be text, not the number 3; if it is a text, quote it/],
    ['none: [""]\n', /1:8: none\[0\]: must not be empty/],
    [`none: ["${'x'.repeat(4_097)}"]\n`, /none\[0\]: has 4097 characters; at most 4096 are allowed/],
  ])('is refused with a wrong list of such texts, with its place', (none, message) => {
    expect(() => parse(none + GOOD)).toThrow(message);
  });

  it.each([
    ['knn', /1:9: method: must be one of auto, head, nearest, not "knn"/],
    ['3', /1:9: method: must be one of auto, head, nearest, not the number 3/],
  ])('is refused with the method %s, with what to do', (method, message) => {
    expect(() => parse(`method: ${method}\n${GOOD}`)).toThrow(message);
  });

  it('has a digest that order and layout do not change, and everything with a meaning does', () => {
    const { digest } = parse(GOOD);
    const shuffled = `# a comment
- utterances: [somebody stole my card]
  description: "stolen cards"
  name: fraud
- metadata: {model: small}
  score_threshold: 0.0
  utterances: ['why was I charged twice', 'refund me']
  name: billing
`;
    expect(parse(shuffled).digest).toBe(digest);
    const changes: [string, string][] = [
      ['billing', 'bills'],
      ['refund me', 'refund us'],
      ['score_threshold: 0', 'score_threshold: 0.1'],
      ['    score_threshold: 0\n', ''],
      ['small', 'large'],
      ['stolen cards', 'cards'],
    ];
    for (const [before, after] of changes) expect(parse(GOOD.replace(before, after)).digest).not.toBe(digest);
    expect(digest).toMatch(/^sha256:[0-9a-f]{64}$/);
  });

  it("is read from semantic-router's own files, whose other fields are ignored", () => {
    const layer = {
      encoder_type: 'openai',
      encoder_name: 'text-embedding-3-small',
      routes: [
        {
          name: 'politics',
          utterances: ['tell me your political opinions'],
          description: null,
          function_schemas: [{ name: 'f' }],
          llm: null,
          score_threshold: 0.3,
          metadata: {},
        },
      ],
    };
    const set = parse(JSON.stringify(layer, null, 2), 'layer.json');
    expect(set.routes[0]).toEqual({
      name: 'politics',
      utterances: ['tell me your political opinions'],
      description: undefined,
      scoreThreshold: 0.3,
      metadata: undefined,
    });
    expect(set.warnings.map(({ path, line }) => [path, line])).toEqual([
      ['routes[0].function_schemas', 11],
      ['routes[0].score_threshold', 17],
    ]);
  });

  // As IndexedRouter.to_json of semantic-router 1.1.1 writes it.
  const indexed = {
    router_type: 'indexed',
    encoder: { type: 'openai', name: 'text-embedding-3-small' },
    sparse_encoder: null,
    alpha: 0.7,
    top_k: 5,
    aggregation: 'mean',
    index: { type: 'local' },
    confidence_threshold: 0.4,
    calibrator: { method: 'platt', params: { a: [1], b: [0] } },
    refresh_interval: null,
    routes: [
      { name: 'a', utterances: ['hello'], description: null, confidence_threshold: null, metadata: {} },
      { name: 'b', utterances: ['bye'], description: null, confidence_threshold: 0.6, metadata: {} },
    ],
  };

  it("is read from version 1's files, whose confidence_threshold is a score_threshold", () => {
    const set = parse(JSON.stringify(indexed), 'router.json');
    expect(set.routes.map(({ name, scoreThreshold }) => [name, scoreThreshold])).toEqual([
      ['a', 0.4],
      ['b', 0.6],
    ]);
  });

  it.each<[object, RegExp]>([
    [{ ...indexed, routes: undefined }, /routes: is missing; this is .*in its index/],
    [{ router_type: 'chain', confidence_threshold: null, calibrator: null, routers: [] }, /is a chain/],
    [{ router_type: 'merge', weights: null, routers: [] }, /is a merge/],
    [
      {
        router_type: 'decision',
        model: { type: 'typesafe', name: 'jev-latest' },
        instructions: 'Which route?',
        routes: [{ name: 'a', description: 'greetings', utterances: [] }],
      },
      /is a decision router.*add some/,
    ],
  ])('says what a file of semantic-router without routes is: %o', (file, message) => {
    expect(() => parse(JSON.stringify(file), 'router.json')).toThrow(message);
  });

  it('ignores keys for people and editors', () => {
    const yaml = `$schema: https://example.org/routes.json
x-defaults: &all {k: 1}
_comment: of ours
routes:
  - name: a
    x-owner: team
    _comment: hm
    utterances: [hello]
    metadata: *all
`;
    const set = parse(yaml);
    expect([set.warnings, set.routes[0]?.metadata]).toEqual([[], { __proto__: null, k: 1 }]);
  });

  it('warns where YAML cuts an utterance at " #"', () => {
    const yaml = `routes:
  - name: a
    utterances:
      - fix bug #123
      - "fix bug #124"
      - fix issue#125
`;
    const { warnings, routes } = parse(yaml);
    expect(routes[0]?.utterances).toEqual(['fix bug', 'fix bug #124', 'fix issue#125']);
    expect(warnings).toMatchObject([{ path: 'routes[0].utterances[0]', line: 4 }]);
    expect(warnings[0]?.message).toMatch(/quote it/);
  });

  it.each(['- Note: call me', '- [a] b', '- @here', '- `x` y', '- 42'])('says "quote it" of %s', (item) => {
    const yaml = `routes:
  - name: a
    utterances:
      ${item}
`;
    expect(() => parse(yaml)).toThrow(/quote it/);
  });

  it('drops an utterance that stands twice in a route and names one that stands in two', () => {
    const set = parse(`routes:
  - name: a
    utterances: [one, two, ' one ']
  - name: b
    utterances: [three, two]
`);
    expect(set.routes.map(({ utterances }) => utterances)).toEqual([
      ['one', 'two'],
      ['three', 'two'],
    ]);
    expect(set.warnings).toEqual([
      { path: 'routes[0].utterances[2]', line: 3, column: 28, message: expect.stringContaining('twice') },
      { path: 'routes[1].utterances[1]', line: 5, column: 25, message: expect.stringContaining('"a"') },
    ]);
  });

  it('takes __proto__ and constructor as names and keys like any other', () => {
    const set = parse(
      '{"routes":[{"name":"__proto__","utterances":["a"],"metadata":{"__proto__":{"polluted":1},"constructor":2}},' +
        '{"name":"constructor","utterances":["b"]}]}',
      'r.json',
    );
    expect(set.indexOf.get('__proto__')).toBe(0);
    expect(set.indexOf.get('toString')).toBeUndefined();
    expect(JSON.stringify(set.routes[0]?.metadata)).toBe('{"__proto__":{"polluted":1},"constructor":2}');
    expect(Reflect.get({}, 'polluted')).toBeUndefined();
  });

  it('reads every example that comes with the project', async () => {
    for (const file of ['default.yaml', 'support-desk.yaml', 'smart-home.json']) {
      const text = await readFile(new URL(`../../routes/${file}`, import.meta.url), 'utf8');
      expect(parse(text, file).routes.length).toBeGreaterThan(3);
    }
  });
});

function raise(): never {
  throw new Error('there is no route');
}
