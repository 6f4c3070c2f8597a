import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PACKAGE_ROOT } from '../../src/config/program-files.js';
import type { Embedder } from '../../src/inference/embedder.js';
import { parseRouteSet } from '../../src/routes/parse.js';
import { optionSentences, sentencesOf } from '../../src/scoring/labels.js';
import { NAMED_CENTRE, similarityScoring } from '../../src/scoring/similarity-scorer.js';
import { IN_SCOPE, IN_SCOPE_UNSEEN } from '../../test/scoring/held-out.js';
import type { Banking77, Labelled } from './banking77.js';
import { ask, inScope, make } from './trials.js';

/** Options that are known by name or description alone, and texts of each. */
interface LabelTask {
  readonly name: string;
  readonly options: readonly { readonly name: string; readonly description?: string | undefined }[];
  readonly instructions: string;
  /** Texts to choose sentences with, and to measure them with. */
  readonly halves: readonly [readonly Labelled[], readonly Labelled[]];
}

const INSTRUCTIONS: Readonly<Record<string, string>> = {
  default: 'Which kind of task is this request?',
  'support-desk': 'Which team of the web shop takes this message?',
  'smart-home': 'Which part of the smart home is this about?',
};

const everyNth = <T>(items: readonly T[], n: number, from = 0): T[] =>
  items.filter((_, index) => index % n === from);

/**
 * Banking77, with descriptions written from the names alone; CLINC150 (Larson et al., 2019), which has names only, where
 * `AI_ROUTER_CLINC150` is the path of its `data_full.json`; and the shipped route sets, of which nothing but names and
 * descriptions is used.
 */
export async function labelTasks({ routes, train, test }: Banking77): Promise<LabelTask[]> {
  const read = (path: string): Promise<string> => readFile(path, 'utf8');
  const described: Readonly<Record<string, string>> = JSON.parse(
    await read(join(PACKAGE_ROOT, 'bench/routing/banking77-descriptions.json')),
  );
  const tasks: LabelTask[] = [
    {
      name: 'Banking77',
      options: routes.map((name) => ({ name, description: described[name] })),
      instructions: 'What is the bank customer asking about?',
      halves: [everyNth(train, 5).map(({ text, route }) => ({ text: text.trim(), route })), test],
    },
  ];
  const clinc = process.env.AI_ROUTER_CLINC150;
  if (clinc !== undefined && existsSync(clinc)) {
    const data: Readonly<Record<string, readonly (readonly [string, string])[]>> = JSON.parse(
      await read(clinc),
    );
    const part = (name: string): Labelled[] => (data[name] ?? []).map(([text, route]) => ({ text, route }));
    const names = [...new Set(part('val').map(({ route }) => route))].sort();
    tasks.push({
      name: 'CLINC150',
      options: names.map((name) => ({ name })),
      instructions: 'What does the user want the assistant to do?',
      halves: [everyNth(part('val'), 2), everyNth(part('test'), 3)],
    });
  }
  for (const file of ['default.yaml', 'support-desk.yaml', 'smart-home.json']) {
    const name = file.replace(/\.\w+$/, '');
    const set = parseRouteSet(await read(join(PACKAGE_ROOT, 'routes', file)), { origin: file });
    const texts = set.routes.flatMap(({ name: route, utterances }) =>
      utterances.map((text) => ({ text, route })),
    );
    const heldOut = [...IN_SCOPE, ...IN_SCOPE_UNSEEN].map(([text, route]) => ({ text, route }));
    tasks.push({
      name,
      options: set.routes,
      instructions: INSTRUCTIONS[name] ?? '',
      halves: name === 'default' ? [texts, heldOut] : [everyNth(texts, 2), everyNth(texts, 2, 1)],
    });
  }
  return tasks;
}

type Sentences = (option: LabelTask['options'][number], instructions: string) => readonly string[];

/** Ways to make examples of an option; the last of each list is what is served. */
const WAYS: Readonly<Record<'names' | 'descriptions', Readonly<Record<string, Sentences>>>> = {
  names: {
    name: ({ name }) => sentencesOf(name, undefined).slice(0, 1),
    'instructions name': ({ name }, asked) => [`${asked} ${wordsOf(name)}`],
    'served + instructions': ({ name }, asked) => [
      ...optionSentences(name, undefined),
      `${asked} ${wordsOf(name)}`,
    ],
    'served: name, help with it': ({ name }) => optionSentences(name, undefined),
  },
  descriptions: {
    description: ({ description = '' }) => [description],
    'name, description, both': ({ name, description }) => sentencesOf(name, description),
    'served + instructions': ({ name, description }, asked) => [
      ...optionSentences(name, description),
      `${asked} ${description}`,
    ],
    'served: the same, parts': ({ name, description }) => optionSentences(name, description),
  },
};

function wordsOf(name: string): string {
  return sentencesOf(name, undefined)[0] ?? name;
}

/** Texts that have to be embedded for the tasks. */
export function labelTexts(tasks: readonly LabelTask[]): string[] {
  return tasks.flatMap(({ options, instructions, halves }) => [
    ...halves.flat().map(({ text }) => text),
    ...Object.values(WAYS)
      .flatMap((ways) => Object.values(ways))
      .flatMap((sentences) => options.flatMap((option) => sentences(option, instructions))),
  ]);
}

/** Share of texts whose best option is right, by task, way and half, as rows of a table. */
export async function labelTrials(
  tasks: readonly LabelTask[],
  embedder: Embedder,
): Promise<Record<string, string | number>[]> {
  const rows = [];
  for (const [known, ways] of Object.entries(WAYS)) {
    for (const [way, sentences] of Object.entries(ways)) {
      for (const { name, options, instructions, halves } of tasks) {
        if (known === 'descriptions' && options.some(({ description }) => description === undefined))
          continue;
        const examples = new Map(
          options.map((option) => [option.name, [...new Set(sentences(option, instructions))]]),
        );
        const made = await make(similarityScoring(NAMED_CENTRE), examples, embedder);
        const right = halves.map(async (texts) => {
          const answers = await ask(
            made,
            embedder,
            texts.map(({ text }) => text),
          );
          return inScope(answers, texts).accuracy;
        });
        const [tuning = Number.NaN, heldOut = Number.NaN] = await Promise.all(right);
        rows.push({ known_by: known, way, task: name, tuning, held_out: heldOut });
      }
    }
  }
  return rows;
}
