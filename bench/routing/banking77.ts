import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parse as parseCsv } from 'csv-parse/sync';
import { Random } from '../../test/support/random.js';

/** A text and the route that it belongs to. */
export interface Labelled {
  readonly text: string;
  readonly route: string;
}

/** Banking77 (Casanueva et al., 2020): 77 routes, 10,003 texts to train with and 3,080 to test with. */
export interface Banking77 {
  readonly train: readonly Labelled[];
  readonly test: readonly Labelled[];
  /** In the order of their names. */
  readonly routes: readonly string[];
}

/** Where the data set is: `AI_ROUTER_BANKING77`, else beside the project. It is never copied into it. */
export function banking77Folder(): string | undefined {
  const folder =
    process.env.AI_ROUTER_BANKING77 ??
    fileURLToPath(new URL('../../../shared/data/banking77', import.meta.url));
  return existsSync(`${folder}/train.csv`) ? folder : undefined;
}

/** Reads the data set. */
export function readBanking77(folder: string): Banking77 {
  const train = parse(readFileSync(`${folder}/train.csv`, 'utf8'));
  const test = parse(readFileSync(`${folder}/test.csv`, 'utf8'));
  return { train, test, routes: [...new Set(train.map(({ route }) => route))].sort() };
}

/** Utterances per route: `perRoute` of each, chosen by `seed`, or all. */
export function sampleUtterances(
  data: Banking77,
  perRoute: number | undefined,
  seed: number,
): Map<string, string[]> {
  const random = new Random(seed);
  return new Map(
    data.routes.map((name) => {
      const texts = data.train.filter(({ route }) => route === name).map(({ text }) => text.trim());
      shuffle(texts, random);
      return [name, [...new Set(texts)].slice(0, perRoute)];
    }),
  );
}

/** Fisher and Yates' shuffle, in place. */
export function shuffle<T>(items: T[], random: Random): T[] {
  for (let i = items.length - 1; i > 0; i -= 1) {
    const j = Math.floor(random.next() * (i + 1));
    [items[i], items[j]] = [items[j] as T, items[i] as T];
  }
  return items;
}

function parse(csv: string): Labelled[] {
  const rows: string[][] = parseCsv(csv, { from_line: 2 });
  return rows.map(([text = '', route = '']) => ({ text, route }));
}
