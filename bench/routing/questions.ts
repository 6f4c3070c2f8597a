import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PACKAGE_ROOT } from '../../src/config/program-files.js';
import type { TestDaemon } from '../../test/support/daemon-process.js';
import { mean } from '../../test/support/stats.js';

/** Texts for which a statement is true, and texts for which it is not. */
interface TruthTask {
  readonly statement: string;
  readonly opposite: string;
  /** Whether the statement denies something. */
  readonly negated?: boolean;
  readonly yes: readonly string[];
  readonly no: readonly string[];
}

/** Levels, and the texts of each. */
interface ScaleTask {
  readonly name: string;
  readonly levels: readonly string[];
  readonly texts: readonly (readonly string[])[];
}

type Answers = Readonly<Record<string, { readonly noul: number; readonly score: number }>>;

/** Asks a daemon the statements and scales of questions.json; returns rows of a table. */
export async function questionTrials(daemon: TestDaemon): Promise<Record<string, string | number>[]> {
  const file = join(PACKAGE_ROOT, 'bench/routing/questions.json');
  const tasks: { truth: readonly TruthTask[]; scale: readonly ScaleTask[] } = JSON.parse(
    await readFile(file, 'utf8'),
  );
  const ask = async (state: string, questions: object): Promise<Answers> => {
    const request = { model: 'x', state, questions };
    const { status, body } = await daemon.post<{ answers: Answers }>('/v1/systemone', request);
    if (status !== 200) throw new Error(`status ${status}: ${JSON.stringify(body)}`);
    return body.answers;
  };
  return [...(await truthRows(tasks.truth, ask)), ...(await scaleRows(tasks.scale, ask))];
}

async function truthRows(
  tasks: readonly TruthTask[],
  ask: (state: string, questions: object) => Promise<Answers>,
) {
  const rows = [];
  for (const negated of [false, true]) {
    const right: Record<'alone' | 'with_opposite', number[]> = { alone: [], with_opposite: [] };
    const ordered: number[] = [];
    for (const { statement, opposite, yes, no } of tasks.filter(
      (task) => (task.negated ?? false) === negated,
    )) {
      const questions = {
        alone: { type: 'noul', instructions: statement },
        with_opposite: { type: 'noul', criteria: { true: statement, false: opposite } },
      };
      const shares: Record<'yes' | 'no', number[]> = { yes: [], no: [] };
      for (const [texts, isTrue] of [[yes, true] as const, [no, false] as const]) {
        for (const text of texts) {
          const answers = await ask(text, questions);
          shares[isTrue ? 'yes' : 'no'].push(answers.alone?.noul ?? Number.NaN);
          for (const way of ['alone', 'with_opposite'] as const)
            right[way].push((answers[way]?.noul ?? Number.NaN) > 0.5 === isTrue ? 1 : 0);
        }
      }
      ordered.push(...shares.yes.flatMap((yes) => shares.no.map((no) => (yes > no ? 1 : 0))));
    }
    rows.push({
      statements: negated ? 'that deny something' : 'that say something',
      texts: right.alone.length,
      right_alone: mean(right.alone),
      ordered_alone: mean(ordered),
      right_with_opposite: mean(right.with_opposite),
    });
  }
  return rows;
}

async function scaleRows(
  tasks: readonly ScaleTask[],
  ask: (state: string, questions: object) => Promise<Answers>,
) {
  const rows = [];
  for (const { name, levels, texts } of tasks) {
    const middle = (levels.length - 1) / 2;
    const found: { exact: number; within_one: number; error: number; error_of_the_middle: number }[] = [];
    for (const [level, those] of texts.entries()) {
      for (const text of those) {
        const { q } = await ask(text, { q: { type: 'score', criteria: levels } });
        const away = Math.abs(Math.round(q?.score ?? Number.NaN) - level);
        found.push({
          exact: away === 0 ? 1 : 0,
          within_one: away <= 1 ? 1 : 0,
          error: Math.abs((q?.score ?? Number.NaN) - level),
          error_of_the_middle: Math.abs(middle - level),
        });
      }
    }
    const over = (name: keyof (typeof found)[number]): number => mean(found.map((each) => each[name]));
    rows.push({
      scale: name,
      levels: levels.length,
      texts: found.length,
      exact: over('exact'),
      within_one: over('within_one'),
      error: over('error'),
      error_of_the_middle: over('error_of_the_middle'),
    });
  }
  return rows;
}
