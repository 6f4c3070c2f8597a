import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PACKAGE_ROOT } from '../../src/config/program-files.js';
import type { Embedder } from '../../src/inference/embedder.js';
import { parseRouteSet } from '../../src/routes/parse.js';
import { ActiveSet } from '../../src/scoring/active-set.js';
import { labelSetOf, sentencesOf } from '../../src/scoring/labels.js';
import { FAMILIARITY_DEFAULTS } from '../../src/scoring/noise.js';
import type { CreateScorer } from '../../src/scoring/scorer.js';
import { NAMED_CENTRE, SimilarityScorer } from '../../src/scoring/similarity-scorer.js';
import { IN_SCOPE, IN_SCOPE_UNSEEN } from '../../test/scoring/held-out.js';
import { ELSEWHERE, HELD_OUT, type Probes, SMALL_SETS, TUNING } from '../../test/scoring/probes.js';
import { mean } from '../../test/support/stats.js';
import type { Labelled } from './banking77.js';
import { make, shippedNoise } from './trials.js';

/** A set that is asked about the probes, and texts that are for its routes. */
export interface ProbedSet {
  readonly name: string;
  readonly utterances: ReadonlyMap<string, readonly string[]>;
  readonly inScope: readonly Labelled[];
  /** Kinds of probes that some route of the set is for. */
  readonly except: readonly (keyof Probes)[];
  /** Whether {@link ELSEWHERE} is for none of its routes. */
  readonly small?: boolean;
  /** Routes are known by their names alone. */
  readonly named?: boolean;
}

const namedScoring: CreateScorer = async (_, vectors) =>
  new SimilarityScorer(await vectors, NAMED_CENTRE, FAMILIARITY_DEFAULTS.named);

const LABELS = ['hardware', 'software', 'network', 'orders', 'billing'];

/** The sets of a few routes, the default set, and labels. */
export async function probedSets(): Promise<ProbedSet[]> {
  const file = await readFile(join(PACKAGE_ROOT, 'routes/default.yaml'), 'utf8');
  const { routes } = parseRouteSet(file, { origin: 'default.yaml' });
  const small = Object.entries(SMALL_SETS).map(([name, set]) => ({
    name,
    utterances: new Map<string, readonly string[]>(Object.entries(set)),
    inScope: [],
    except: ['quoting'] as const,
    small: true,
  }));
  const inScope = [...IN_SCOPE, ...IN_SCOPE_UNSEEN].map(([text, route]) => ({ text, route }));
  const quoting = [...TUNING.quoting, ...HELD_OUT.quoting].map((text) => ({ text, route: 'translation' }));
  return [
    ...small,
    {
      name: 'labels',
      utterances: new Map(LABELS.map((name) => [name, labelSetOf([name]).set.routes[0]?.utterances ?? []])),
      inScope: [],
      except: ['quoting', 'code'],
      named: true,
    },
    {
      name: 'default',
      utterances: new Map(routes.map(({ name, utterances }) => [name, utterances])),
      inScope: [...inScope, ...quoting],
      except: ['quoting', 'code'],
    },
  ];
}

/** Texts that have to be embedded for these sets. */
export function probeTexts(sets: readonly ProbedSet[]): string[] {
  return [
    ...[TUNING, HELD_OUT].flatMap((half) => Object.values(half).flat()),
    ...ELSEWHERE.tuning,
    ...ELSEWHERE.heldOut,
    ...sets.flatMap(({ utterances, inScope }) => [
      ...[...utterances].flatMap(([name, texts]) => [...texts, ...sentencesOf(name, undefined)]),
      ...inScope.map(({ text }) => text),
    ]),
  ];
}

/** One half of the probes: what it says about a set. */
export type Probe = (half: 'tuning' | 'held out') => Promise<Record<string, number>>;

/**
 * Makes a set ready for its probes.
 * @returns share of each kind of probes that is sent anywhere at the default threshold, and what is left of the set's own
 */
export async function probesOf(set: ProbedSet, create: CreateScorer, embedder: Embedder): Promise<Probe> {
  const made = await make(set.named ? namedScoring : create, set.utterances, embedder);
  const encoder = { embedder, model: { id: 'bench', revision: '', variant: 'q8', digest: '' } };
  const active = new ActiveSet(encoder, made.set, made.vectors, made.scorer, {
    noise: await shippedNoise(embedder),
    ...(set.named && { named: true }),
  });
  const judge = async (text: string) => active.judge(text, await embedder.embed(text), undefined, {});
  const shareOf = async (texts: readonly string[], wrong: (route: string | null, at: number) => boolean) => {
    const verdicts = await Promise.all(texts.map(judge));
    return mean(verdicts.map(({ route }, at) => (wrong(route, at) ? 1 : 0)));
  };
  const taken = (route: string | null): boolean => route !== null;
  return async (half) => {
    const probes = half === 'tuning' ? TUNING : HELD_OUT;
    const kinds = (Object.keys(probes) as (keyof Probes)[]).filter((kind) => !set.except.includes(kind));
    const result: Record<string, number> = { threshold: made.scorer.defaultThreshold };
    result.sent = await shareOf(
      kinds.flatMap((kind) => probes[kind]),
      taken,
    );
    for (const kind of kinds) result[kind] = await shareOf(probes[kind], taken);
    if (set.small)
      result.elsewhere = await shareOf(ELSEWHERE[half === 'tuning' ? 'tuning' : 'heldOut'], taken);
    if (set.inScope.length > 0) {
      const right = (route: string | null, at: number): boolean => route === set.inScope[at]?.route;
      const texts = set.inScope.map(({ text }) => text);
      result.in_scope_right = await shareOf(texts, right);
      result.in_scope_kept = await shareOf(texts, taken);
    }
    return result;
  };
}
