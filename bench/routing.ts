import { availableParallelism, cpus } from 'node:os';
import { basename } from 'node:path';
import { commandLine } from '../scripts/command-line.js';
import { sentencesOf } from '../src/scoring/labels.js';
import { BACKGROUND } from '../src/scoring/noise.js';
import { Random } from '../test/support/random.js';
import { mean } from '../test/support/stats.js';
import { startTimed, withFolder } from './measure.js';
import {
  type Banking77,
  banking77Folder,
  type Labelled,
  readBanking77,
  sampleUtterances,
  shuffle,
} from './routing/banking77.js';
import { dialogueTrials, readDialogues } from './routing/dialogues.js';
import { embedAll } from './routing/embeddings.js';
import { labelTasks, labelTexts, labelTrials } from './routing/labels.js';
import { askOverHttp, decisionsOverHttp } from './routing/over-http.js';
import { type ProbedSet, probedSets, probesOf, probeTexts } from './routing/probes.js';
import { questionTrials } from './routing/questions.js';
import {
  ask,
  inScope,
  METHODS,
  make,
  outOfScope,
  PROBED_METHODS,
  scoringTime,
  several,
} from './routing/trials.js';

const SEEDS = [1, 2, 3];
const SIZES = [5, 10, undefined] as const;
const PAIRS = 600;
/** Minimum figures of a head over HTTP; of the calibration error, the maximum. */
const GOALS = { 5: 0.835, 10: 0.88, all: 0.942, auroc: 0.875, calibration_error: 0.03 } as const;
const HELP = `How well and how fast texts are routed, on Banking77: \`npm run bench:routing [-- --json] [--only PART,PART]
[--vectors FOLDER] [--every N]\`. Parts: probes, dialogues, labels, methods, none, other, http, decisions, questions.
\`--vectors\` keeps the embeddings for the next run; \`--every 4\` asks a quarter of the test texts over HTTP. Takes some minutes without.
\`AI_ROUTER_INTENTS\` names a folder with another set (train.csv and test.csv: text, route); test texts of routes that
train.csv does not name are for no route.`;
const { values } = commandLine(HELP, {
  options: {
    json: { type: 'boolean' },
    only: { type: 'string' },
    vectors: { type: 'string' },
    every: { type: 'string', default: '1' },
  },
});
const { json, vectors: vectorsAt } = values;
const every = Number(values.every);

type Row = Record<string, string | number>;
const results: Record<string, Row[]> = {};

function report(table: string, row: Row): void {
  results[table] ??= [];
  results[table].push(row);
  if (json) return;
  const cells = Object.entries(row).map(([name, value]) => `${name} ${show(value)}`);
  process.stdout.write(`${table}: ${cells.join('  ')}\n`);
}

function show(value: string | number): string {
  return typeof value === 'string' ? value : String(Math.round(value * 10_000) / 10_000);
}

/** The mean of each number over the seeds. */
function meanOf(rows: readonly Record<string, number>[]): Record<string, number> {
  const keys = Object.keys(rows[0] ?? {});
  return Object.fromEntries(keys.map((key) => [key, mean(rows.map((row) => row[key] ?? Number.NaN))]));
}

const folder = banking77Folder();
if (folder === undefined) {
  process.stderr.write(
    'SKIPPED: Banking77 is not there; set AI_ROUTER_BANKING77 to a folder with train.csv and test.csv\n',
  );
  process.exit(0);
}
const data = readBanking77(folder);
report('machine', {
  cpu: cpus()[0]?.model ?? '?',
  cores: availableParallelism(),
  node: process.version,
  seeds: SEEDS.join(','),
});

const parts = {
  probes,
  dialogues,
  labels,
  methods: inProcess,
  none: negatives,
  other: otherSet,
  http: overHttp,
  decisions,
  questions,
};
const only = values.only?.split(',');
const unknown = only?.find((name) => !(name in parts));
if (unknown !== undefined) throw new Error(`--only ${unknown}: there are ${Object.keys(parts).join(', ')}`);
/** Those that are asked over HTTP, where each is embedded anew. */
const asked = data.test.filter((_, index) => index % every === 0);
for (const [name, run] of Object.entries(parts)) {
  if (only && !only.includes(name)) continue;
  const began = performance.now();
  await run();
  report('part', { name, seconds: (performance.now() - began) / 1_000 });
}
if (json) process.stdout.write(`${JSON.stringify(results, undefined, 2)}\n`);

/** Texts that no route should take, by sets from two utterances to all of Banking77. */
async function probes(): Promise<void> {
  const banking = [5, 10, undefined].map(
    (size): ProbedSet => ({
      name: `Banking77 × ${size ?? 'all'}`,
      utterances: sampleUtterances(data, size, 1),
      inScope: data.test,
      except: ['quoting'],
    }),
  );
  const large = {
    name: '150 × 100',
    utterances: routesOf100(data),
    inScope: [],
    except: ['quoting'],
  } as const;
  const sets = [...(await probedSets()), ...banking, large];
  const embedder = await embedAll([...probeTexts(sets), ...BACKGROUND], vectorsAt);
  for (const set of sets) {
    for (const [method, create] of Object.entries(PROBED_METHODS)) {
      const probe = await probesOf(set, create, embedder);
      for (const half of ['tuning', 'held out'] as const) {
        report('sent anywhere', { set: set.name, method, half, ...(await probe(half)) });
      }
    }
  }
}

/** Conversations whose last turn needs the one before it, or does not. */
async function dialogues(): Promise<void> {
  const all = await readDialogues();
  const embedder = await embedAll([...all.texts, ...BACKGROUND], vectorsAt);
  for (const row of await dialogueTrials(all, embedder)) report('dialogues', row);
}

/** Options that are known by their names or descriptions alone. */
async function labels(): Promise<void> {
  const tasks = await labelTasks(data);
  const embedder = await embedAll(labelTexts(tasks), vectorsAt);
  for (const row of await labelTrials(tasks, embedder)) report('labels', row);
}

/** Every method side by side, given embeddings. */
async function inProcess(): Promise<void> {
  const pairs = twoIntents(data);
  const embedder = await embedAll(
    [
      ...data.train.map(({ text }) => text.trim()),
      ...data.test.map(({ text }) => text),
      ...data.routes.flatMap((name) => sentencesOf(name, undefined)),
      ...Array.from({ length: 150 }, (_, i) => sentencesOf(halfName(data, i), undefined)).flat(),
      ...pairs.map(({ text }) => text),
      ...BACKGROUND,
    ],
    vectorsAt,
  );
  const texts = data.test.map(({ text }) => text);
  for (const size of SIZES) {
    for (const [method, create] of Object.entries(METHODS)) {
      // All of it is the same for every seed.
      const runs = [];
      for (const seed of size === undefined ? [1] : SEEDS) {
        const made = await make(create, sampleUtterances(data, size, seed), embedder);
        const { accuracy, calibration_error } = inScope(await ask(made, embedder, texts), data.test);
        runs.push({
          accuracy,
          calibration_error,
          train_ms: made.wallMs,
          score_ms: await scoringTime(made, embedder, texts),
          head_kb: made.headBytes / 1_000,
        });
      }
      report('in scope', { per_route: size ?? 'all', method, ...meanOf(runs) });
    }
  }

  for (const [method, create] of Object.entries(METHODS)) {
    const runs = [];
    for (const seed of SEEDS) {
      const { utterances, inside, outside } = heldOut(data, seed);
      const made = await make(create, utterances, embedder);
      const [own, strangers] = await Promise.all(
        [inside, outside].map((test) => ask(made, embedder, textsOf(test), { withProduct: true })),
      );
      runs.push(outOfScope(made.scorer.defaultThreshold, own ?? [], inside, strangers ?? []));
    }
    report('19 of 77 routes out of scope', { per_route: 10, method, ...meanOf(runs) });
  }

  for (const [method, create] of Object.entries(METHODS)) {
    const made = await make(create, sampleUtterances(data, 10, 1), embedder);
    const [one, two] = [
      await ask(made, embedder, texts),
      await ask(
        made,
        embedder,
        pairs.map(({ text }) => text),
      ),
    ];
    const expected = pairs.map(({ routes }) => routes);
    report('multi', { per_route: 10, method, ...several(one, two, expected) });
  }

  {
    // No public set here has 150 routes: each of these is half of one, which is harder to tell from the other half.
    const whole = sampleUtterances(data, 20, 1);
    const halves = new Map(
      Array.from({ length: 150 }, (_, i) => {
        const all = whole.get(data.routes[i >> 1] ?? '') ?? [];
        return [halfName(data, i), all.slice((i % 2) * 10, (i % 2) * 10 + 10)] as const;
      }),
    );
    const runs = [];
    for (const _ of SEEDS) {
      const made = await make(METHODS.head, halves, embedder);
      const score_ms = await scoringTime(made, embedder, texts);
      runs.push({ train_ms: made.wallMs, score_ms });
    }
    report('150 routes × 10', { method: 'head', ...meanOf(runs) });
  }
}

/**
 * Near-domain texts: those of a third of the held-out routes are listed under `none`, those of the other two thirds are asked.
 */
async function negatives(): Promise<void> {
  const embedder = await embedAll(
    [...data.train, ...data.test].map(({ text }) => text.trim()).concat(namesOf(data), BACKGROUND),
    vectorsAt,
  );
  for (const [method, create] of Object.entries(METHODS)) {
    for (const perRoute of [0, 10, undefined]) {
      const runs = [];
      for (const seed of SEEDS) {
        const { utterances, inside, outside, out } = heldOut(data, seed);
        const listed = new Set(out.slice(0, Math.floor(out.length / 3)));
        const drawn = sampleUtterances(data, perRoute, seed);
        const none = perRoute === 0 ? [] : [...listed].flatMap((name) => drawn.get(name) ?? []);
        const made = await make(create, utterances, embedder, none);
        const answersTo = (test: readonly Labelled[]) => ask(made, embedder, textsOf(test.map(trimmed)));
        const own = await answersTo(inside);
        const far = outside.filter(({ route }) => !listed.has(route));
        const near = outside.filter(({ route }) => listed.has(route));
        const { defaultThreshold } = made.scorer;
        const of = outOfScope(defaultThreshold, own, inside, await answersTo(far));
        const like = outOfScope(defaultThreshold, own, inside, await answersTo(near));
        const { auroc, rejected_out_of_scope: rejected } = like;
        runs.push({ none: none.length, ...of, auroc_of_listed: auroc, rejected_of_listed: rejected });
      }
      report('texts of none', { method, per_route: perRoute ?? 'all', ...meanOf(runs) });
    }
  }
}

/** The methods on another set. Test texts of routes that the training texts do not name belong to none. */
async function otherSet(): Promise<void> {
  const path = process.env.AI_ROUTER_INTENTS;
  if (path === undefined) {
    process.stderr.write(
      'SKIPPED: another set; name a folder with train.csv and test.csv in AI_ROUTER_INTENTS\n',
    );
    return;
  }
  const other = readBanking77(path);
  const embedder = await embedAll(
    [...other.train, ...other.test].map(({ text }) => text.trim()).concat(namesOf(other), BACKGROUND),
    vectorsAt,
  );
  const named = new Set(other.routes);
  const test = other.test.map(trimmed);
  const inside = test.filter(({ route }) => named.has(route));
  const outside = test.filter(({ route }) => !named.has(route));
  for (const size of SIZES) {
    for (const [method, create] of Object.entries(METHODS)) {
      const runs = [];
      for (const seed of size === undefined ? [1] : SEEDS) {
        const made = await make(create, sampleUtterances(other, size, seed), embedder);
        const answersTo = (texts: readonly Labelled[]) =>
          ask(made, embedder, textsOf(texts), { withProduct: true });
        const own = await answersTo(inside);
        const { accuracy, calibration_error } = inScope(own, inside);
        const strangers =
          outside.length === 0
            ? {}
            : outOfScope(made.scorer.defaultThreshold, own, inside, await answersTo(outside));
        runs.push({ ...strangers, accuracy, calibration_error, train_ms: made.wallMs });
      }
      report(basename(path), { per_route: size ?? 'all', method, ...meanOf(runs) });
    }
  }
}

/** The real daemon, boot and all, and the goals. */
async function overHttp(): Promise<void> {
  await withFolder(async (volume) => {
    for (const size of SIZES) {
      const runs = [];
      for (const seed of size === undefined ? [1] : SEEDS) {
        const { answers, readyMs, method } = await askOverHttp(
          volume,
          sampleUtterances(data, size, seed),
          asked,
        );
        const found = inScope(answers, asked);
        report('over HTTP', { per_route: size ?? 'all', seed, method, ...found, ready_ms: readyMs });
        runs.push(found);
      }
      const goals = {
        texts: asked.length,
        accuracy_goal: GOALS[size ?? 'all'],
        error_goal: GOALS.calibration_error,
      };
      report('goals over HTTP', { per_route: size ?? 'all', ...meanOf(runs), ...goals });
    }
    const runs = [];
    for (const seed of SEEDS) {
      const { utterances, inside, outside } = heldOut({ ...data, test: asked }, seed);
      const { answers } = await askOverHttp(volume, utterances, [...inside, ...outside]);
      const [own, strangers] = [answers.slice(0, inside.length), answers.slice(inside.length)];
      const { auroc } = outOfScope(0, own, inside, strangers);
      report('over HTTP', { held_out: 19, seed, auroc });
      runs.push({ auroc });
    }
    report('goals over HTTP', {
      held_out: 19,
      texts: asked.length,
      ...meanOf(runs),
      auroc_goal: GOALS.auroc,
    });
  });
}

/** Single decision calls of the real daemon, about labels and about routes. */
async function decisions(): Promise<void> {
  await withFolder(async (volume) => {
    const [task] = await labelTasks(data);
    const elsewhere = new Map(['ships', 'chairs'].map((name) => [name, [name]]));
    for (const known of ['names', 'descriptions'] as const) {
      const criteria = Object.fromEntries(
        (task?.options ?? []).map(({ name, description }) => [
          name,
          known === 'names' ? null : (description ?? null),
        ]),
      );
      const row = await decisionsOverHttp(volume, elsewhere, criteria, asked);
      report('decision calls', { options_known_by: known, ...row });
    }
    const names = Object.fromEntries(data.routes.map((name) => [name, null]));
    for (const size of SIZES) {
      const row = await decisionsOverHttp(volume, sampleUtterances(data, size, 1), names, asked);
      report('decision calls', { options_known_by: `${size ?? 'all'} utterances each`, ...row });
    }
  });
}

/** Statements and scales, asked of the real daemon. */
async function questions(): Promise<void> {
  await withFolder(async (volume) => {
    const { daemon } = await startTimed({ name: 'this', folder: process.cwd() }, { MODEL_CACHE_DIR: volume });
    for (const row of await questionTrials(daemon)) report('questions', row);
    await daemon.stop();
  });
}

/** 58 of the routes with 10 utterances each, and the test texts of these and of the other 19. */
function heldOut(of: Banking77, seed: number) {
  const out = shuffle([...of.routes], new Random(100 + seed)).slice(0, 19);
  const utterances = sampleUtterances(of, 10, seed);
  for (const name of out) utterances.delete(name);
  const isIn = ({ route }: Labelled): boolean => !out.includes(route);
  const inside = of.test.filter(isIn);
  return { utterances, inside, outside: of.test.filter((one) => !isIn(one)), out };
}

/** 150 routes of 100 utterances: halves of all texts of a route, completed by the same with a word before them. */
function routesOf100(of: Banking77): Map<string, readonly string[]> {
  return new Map(
    Array.from({ length: 150 }, (_, i) => {
      const name = of.routes[i >> 1];
      const all = [...of.train, ...of.test]
        .filter(({ route }) => route === name)
        .map(({ text }) => text.trim());
      const half = [...new Set(all)].filter((_, at) => at % 2 === i % 2);
      const more = ['please: ', 'hello, ', 'question: '].flatMap((word) => half.map((text) => word + text));
      return [halfName(of, i), [...half, ...more].slice(0, 100)];
    }),
  );
}

function namesOf({ routes }: Banking77): string[] {
  return routes.flatMap((name) => sentencesOf(name, undefined));
}

function textsOf(labelled: readonly Labelled[]): string[] {
  return labelled.map(({ text }) => text);
}

function trimmed({ text, route }: Labelled): Labelled {
  return { text: text.trim(), route };
}

/** Texts that ask for two things, made of two test texts of different routes. */
function twoIntents({ test }: Banking77): { text: string; routes: string[] }[] {
  const random = new Random(7);
  const made: { text: string; routes: string[] }[] = [];
  while (made.length < PAIRS) {
    const [one, two] = [random.pick(test), random.pick(test)];
    if (one.route === two.route) continue;
    const joint = [' and also, ', ' ', '. Another thing: '][made.length % 3] ?? ' ';
    made.push({ text: one.text + joint + two.text, routes: [one.route, two.route] });
  }
  return made;
}

function halfName({ routes }: Banking77, index: number): string {
  return `${routes[index >> 1] ?? ''} ${(index % 2) + 1}`;
}
