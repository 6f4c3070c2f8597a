import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PACKAGE_ROOT } from '../../src/config/program-files.js';
import type { Embedder } from '../../src/inference/embedder.js';
import { parseRouteSet } from '../../src/routes/parse.js';
import { ActiveSet } from '../../src/scoring/active-set.js';
import { sentencesOf } from '../../src/scoring/labels.js';
import { blended, canBlend } from '../../src/scoring/messages.js';
import { mean } from '../../test/support/stats.js';
import { make, PROBED_METHODS, shippedNoise } from './trials.js';

/**
 * A dialogue of two or three turns of a person, with the assistant's between them, in the forms that public collections of
 * dialogues have: ellipsis, anaphora, answers to a question, corrections, confirmations, other subjects, closings. Written
 * for this; `route` is what the last turn is for. Every other one was used to choose constants.
 */
interface Dialogue {
  readonly routes: string;
  readonly form: string;
  readonly route: string | null;
  readonly turns: readonly string[];
}

/** The dialogues and the route sets that they are for. */
export async function readDialogues() {
  const read = (path: string): Promise<string> => readFile(join(PACKAGE_ROOT, path), 'utf8');
  const dialogues: readonly Dialogue[] = JSON.parse(await read('bench/routing/dialogues.json'));
  const sets = new Map<string, ReadonlyMap<string, readonly string[]>>();
  for (const name of new Set(dialogues.map(({ routes }) => routes))) {
    const { routes } = parseRouteSet(await read(`routes/${name}.yaml`), { origin: name });
    sets.set(name, new Map(routes.map((route) => [route.name, route.utterances])));
  }
  const utterances = [...sets.values()].flatMap((set) =>
    [...set].flatMap(([name, texts]) => [...texts, ...sentencesOf(name, undefined)]),
  );
  return { dialogues, sets, texts: [...dialogues.flatMap(({ turns }) => turns), ...utterances] };
}

/** The ways to take the previous turn in: its share, and whether for short turns only, as it is served. */
const WAYS = [
  { share: 0, short: true },
  ...[0.2, 0.3, 0.4, 0.5].flatMap((share) => [true, false].map((short) => ({ share, short }))),
];

/** Share of dialogues whose last turn goes where it should, by half, as rows of a table. */
export async function dialogueTrials(
  { dialogues, sets }: Awaited<ReturnType<typeof readDialogues>>,
  embedder: Embedder,
): Promise<Record<string, string | number>[]> {
  const model = { id: 'bench', revision: '', variant: 'q8', digest: '' };
  const noise = await shippedNoise(embedder);
  const served = new Map<string, ActiveSet>();
  for (const [name, utterances] of sets) {
    const { set, vectors, scorer } = await make(PROBED_METHODS.auto, utterances, embedder);
    served.set(name, new ActiveSet({ embedder, model }, set, vectors, scorer, { noise }));
  }
  const decide = async ({ routes, turns }: Dialogue, { share, short }: (typeof WAYS)[number]) => {
    const set = served.get(routes) as ActiveSet;
    const [text = '', previous = ''] = [turns.at(-1), turns.at(-3)];
    const last = await embedder.embed(text);
    const { route } = set.judge(text, last, undefined, {});
    if (route !== null || share === 0 || !canBlend(last, short ? text : '', previous)) return route;
    const both = blended(last, await embedder.embed(previous), share);
    return both ? set.judge(`${previous} ${text}`, both, undefined, {}).route : route;
  };
  const rows = [];
  for (const way of WAYS) {
    for (const half of [0, 1]) {
      const part = dialogues.filter((_, index) => index % 2 === half);
      const right = await Promise.all(
        part.map(async (each) => ((await decide(each, way)) === each.route ? 1 : 0)),
      );
      const among = (is: (each: Dialogue) => boolean) =>
        mean(right.filter((_, at) => is(part[at] as Dialogue)));
      rows.push({
        half: half === 0 ? 'tuning' : 'held out',
        share: way.share,
        turns: way.short ? 'short' : 'any',
        dialogues: part.length,
        right: mean(right),
        in_scope: among(({ route }) => route !== null),
        out_of_scope: among(({ route }) => route === null),
      });
    }
  }
  return rows;
}
