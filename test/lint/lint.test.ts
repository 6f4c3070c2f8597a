import { describe, expect, it } from 'vitest';
import type { LintReport } from '../../src/api/lint.js';
import { findOverlaps } from '../../src/lint/checks.js';
import { closenessOf } from '../../src/lint/comparison.js';
import { Linter, lintRoutes } from '../../src/lint/lint.js';
import { parseRouteSet } from '../../src/routes/parse.js';
import { Classifier } from '../../src/scoring/classifier.js';
import { embedRoutes } from '../../src/scoring/vectors.js';
import { Slices } from '../../src/shared/concurrent.js';
import { MODEL, WordEmbedder } from '../scoring/word-embedder.js';

async function lint(
  routes: Record<string, readonly string[]>,
  none: readonly string[] = [],
): Promise<LintReport> {
  const list = Object.entries(routes).map(([name, utterances]) => ({ name, utterances }));
  const set = parseRouteSet(JSON.stringify({ routes: list, none }), { origin: 'test.json' });
  const { vectors } = await embedRoutes(set, new WordEmbedder());
  return lintRoutes(set, vectors);
}

const kinds = (report: LintReport) => report.findings.map(({ severity, kind }) => `${severity} ${kind}`);

/** Utterances that share a word with each other and with nothing else. */
const about = (word: string, count = 6): string[] =>
  Array.from({ length: count }, (_, index) => `${word} ${word}${index} talk`);

describe('lint', () => {
  it('finds nothing in a set that is as it should be', async () => {
    const report = await lint({ red: about('red'), blue: about('blue') });
    expect(report.findings).toEqual([]);
    expect(report).toMatchObject({ accuracy: 1, examined: 12, confusions: [], findings_hidden: 0 });
    expect(report.by_route[0]).toMatchObject({ name: 'red', utterances: 6, examined: 6, recovered: 6 });
  });

  it('reports texts that belong to no route and collide with one', async () => {
    const red = about('red');
    const none = ['nothing at all', 'RED  red0 talk!', 'red1 talk red'];
    const report = await lint({ red, blue: about('blue') }, none);
    expect(kinds(report)).toEqual(['error none_collision', 'warning none_collision']);
    expect(report.findings).toMatchObject([
      { routes: ['red'], utterances: [{ route: 'red', utterance: red[0] }], similarity: 1 },
      { routes: ['red'], utterances: [{ route: 'red', utterance: red[1] }] },
    ]);
    // They are no utterances: nothing else changes.
    expect(report).toMatchObject({ accuracy: 1, examined: 12, utterances: 12 });
  });

  it('gives way to other work while it compares very many routes', async () => {
    const names = Array.from({ length: 2_000 }, (_, index) => `route ${index}`);
    const list = names.map((name, index) => ({ name, utterances: [`red word${index}`] }));
    const set = parseRouteSet(JSON.stringify({ routes: list }), { origin: 'test.json' });
    const { vectors } = await embedRoutes(set, new WordEmbedder());
    const slices = new Slices();
    let turns = 0;
    slices.giveWay = () => {
      turns += 1;
      return Slices.prototype.giveWay.call(slices);
    };
    const closeness = await closenessOf(set, vectors, slices);
    const measured = turns;
    await findOverlaps(
      names,
      names.map(() => 5),
      [],
      closeness,
      slices,
    );
    expect(measured).toBeGreaterThan(0);
    expect(turns).toBeGreaterThan(measured);
  });

  it('tells the strongest of very many overlaps only', async () => {
    const names = Array.from({ length: 120 }, (_, index) => `route ${index}`);
    const report = await lint(
      Object.fromEntries(names.map((name) => [name, ['red talk', 'blue talk', 'red blue']])),
    );
    // 7,140 pairs overlap; besides, each route is small and the set contradicts itself.
    const found = report.findings.length + report.findings_hidden;
    expect(found).toBeGreaterThan(2_000);
    expect(found).toBeLessThan(3_000);
  });

  it('takes the same text in two routes for an error, whatever its case and punctuation', async () => {
    const report = await lint({
      red: [...about('red'), 'Shared, text!'],
      blue: [...about('blue'), 'shared text'],
    });
    expect(report.counts.error).toBe(1);
    expect(report.findings[0]).toMatchObject({
      kind: 'duplicate_across',
      routes: ['red', 'blue'],
      utterances: [
        { route: 'red', utterance: 'Shared, text!' },
        { route: 'blue', utterance: 'shared text' },
      ],
      message: expect.stringContaining('"red" and "blue"'),
      advice: expect.stringMatching(/^Keep it where it belongs/),
    });
  });

  it('tells signs apart that are all there is', async () => {
    const report = await lint({ red: [...about('red'), '?'], blue: [...about('blue'), '!'] });
    expect(kinds(report)).not.toContain('error duplicate_across');
  });

  it('finds texts that are nearly the same, across routes and within one', async () => {
    const long = 'one two three four five six seven eight nine ten eleven twelve';
    const report = await lint({
      red: [...about('red'), long, `${long} thirteen`],
      blue: [...about('blue'), `${long} fourteen`],
    });
    expect(kinds(report)).toContain('warning near_duplicate_across');
    expect(kinds(report)).toContain('info near_duplicate_within');
  });

  it('finds an utterance that another route would take', async () => {
    const report = await lint({ red: [...about('red'), 'blue blue3 blue4'], blue: about('blue') });
    const stray = report.findings.find(({ kind }) => kind === 'nearer_elsewhere');
    expect(stray).toMatchObject({
      severity: 'warning',
      routes: ['red', 'blue'],
      utterances: [{ route: 'red', utterance: 'blue blue3 blue4' }, { route: 'blue' }],
    });
    expect(report.confusions).toEqual([{ from: 'red', to: 'blue', count: 1 }]);
    expect(report.accuracy).toBeCloseTo(12 / 13, 3);
  });

  it('does not call an utterance misplaced that is only more like another one', async () => {
    const report = await lint({ red: [...about('red'), 'blue blue3 talk of red'], blue: about('blue') });
    expect(report.findings).toMatchObject([
      {
        severity: 'info',
        kind: 'nearer_elsewhere',
        advice: 'Add utterances like it to "red", so that it does not stand alone.',
      },
    ]);
  });

  it('finds an outlier, routes that are too small, and one that outweighs all', async () => {
    const report = await lint({
      red: [...about('red', 9), 'zebra quantum'],
      tiny: ['tiny thing'],
      few: about('few', 4),
      huge: about('huge', 120),
      blue: about('blue'),
    });
    expect(kinds(report)).toEqual(
      expect.arrayContaining(['info outlier', 'warning too_small', 'info too_small', 'info lopsided']),
    );
    expect(report.findings.find(({ kind }) => kind === 'outlier')?.utterances[0]?.utterance).toBe(
      'zebra quantum',
    );
    // A route's only utterance cannot find its way back, and is not counted.
    expect(report.by_route.find(({ name }) => name === 'tiny')).toMatchObject({ examined: 0, recovered: 0 });
  });

  it('finds routes that overlap, and names the pair and no others', async () => {
    const mixed = Array.from(
      { length: 12 },
      (_, index) => `pay card now ${['x', 'y', 'z'][index % 3]} ${index}`,
    );
    const report = await lint({ pay: mixed.slice(0, 6), card: mixed.slice(6), blue: about('blue') });
    const overlaps = report.findings.filter(({ kind }) => kind === 'overlap');
    expect(overlaps.map(({ routes, severity }) => [...routes, severity])).toEqual([
      ['pay', 'card', 'warning'],
    ]);
    expect(kinds(report)).toContain('warning hard_to_tell_apart');
  });

  it('says that one route is no decision, and takes a single utterance', async () => {
    const report = await lint({ only: ['a single one'] });
    expect(kinds(report)).toEqual(['warning too_small', 'warning single_route']);
    expect(report.accuracy).toBeNull();
  });

  it('samples a large set, and can be aborted', async () => {
    const set = parseRouteSet(
      JSON.stringify({
        routes: [
          { name: 'red', utterances: about('red', 40) },
          { name: 'blue', utterances: about('blue', 40) },
        ],
      }),
      { origin: 'test.json' },
    );
    const { vectors } = await embedRoutes(set, new WordEmbedder());
    expect(await lintRoutes(set, vectors, { maxExamined: 20 })).toMatchObject({ examined: 20, accuracy: 1 });
    const big = parseRouteSet(
      JSON.stringify({ routes: [{ name: 'red', utterances: about('red', 1_500) }] }),
      { origin: 'test.json' },
    );
    const { vectors: many } = await embedRoutes(big, new WordEmbedder(64));
    const stop = new AbortController();
    setTimeout(() => stop.abort(), 15);
    await expect(lintRoutes(big, many, { signal: stop.signal })).rejects.toMatchObject({ code: 'aborted' });
  });
});

describe('drafts', () => {
  it('are bounded, and wait for a set that serves', async () => {
    const { signal } = new AbortController();
    await expect(
      new Linter(() => undefined).draft({ text: '[]', options: { origin: 'body' } }, { signal }),
    ).rejects.toMatchObject({ code: 'not_ready' });
  });

  it('are embedded for who sent them', async () => {
    const embedder = new WordEmbedder();
    const classifier = new Classifier({ encoder: { embedder, model: MODEL } });
    await classifier.load(parseRouteSet('[{ name: red, utterances: [red] }]', { origin: 'x.yaml' }));
    embedder.clients.clear();
    const asker = { client: 'a client', signal: new AbortController().signal };
    const draft = { text: '[{ name: blue, utterances: [blue, sky] }]', options: { origin: 'x.yaml' } };
    const { report } = await new Linter(() => classifier.active).draft(draft, asker);
    expect(report.by_route[0]).toMatchObject({ name: 'blue', utterances: 2 });
    expect([...embedder.clients]).toEqual(['a client']);
  });
});
