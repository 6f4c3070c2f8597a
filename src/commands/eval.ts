import { writeFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { createClassifier } from '../daemon/model.js';
import { EmbeddingCache } from '../inference/embedder.js';
import type { Encoder } from '../scoring/scorer.js';
import { AppError, fileFault } from '../shared/errors.js';
import { CACHE_OPTIONS, type Command, command, SOURCE_OPTIONS, usageFault } from './command.js';
import { connectDaemon } from './daemon-client.js';
import { compareJudgements, type SetComparison } from './evaluation/comparison.js';
import { type Evaluation, evaluate as measure } from './evaluation/evaluation.js';
import { htmlReport } from './evaluation/html-report.js';
import { daemonJudge, type Judge, type Judgement, judgeAll, localJudge } from './evaluation/judge.js';
import { parseLabelled, resolveLabels, UNKNOWN_LABELS } from './evaluation/labelled-file.js';
import { comparisonLines, evaluationLines } from './evaluation/text-report.js';
import { readInput, readRouteSet, withLocalModel } from './local-model.js';
import { Progress, SILENT } from './progress.js';

/** Further attempts after a daemon is busy or starting. */
const MAX_RETRIES = 20;

/** Maximum size of a labelled file (256 MiB). */
const MAX_FILE_BYTES = 2 ** 28;

/** `ai-router eval`: how good a route set is on labelled texts. */
export const evaluate: Command = command({
  name: 'eval',
  operands: 'FILE',
  operandCount: [1, 1],
  options: {
    routes: { value: 'FILE', help: 'the routes to measure; default ROUTES_FILE' },
    url: {
      value: 'URL',
      help: 'measure the routes of the daemon there, over HTTP; its key, if it needs one, in AI_ROUTER_KEY',
    },
    compare: { value: 'FILE', help: 'earlier routes to compare with' },
    html: { value: 'FILE', help: 'write a report as one HTML file without outside resources' },
    'text-column': { value: 'NAME', help: 'column of the texts; else found by its usual names' },
    'label-column': { value: 'NAME', help: 'column of the routes; else found by its usual names' },
    'unknown-labels': {
      value: 'error|oos|skip',
      help: 'labels without a route: reject (default), count as out of scope, or leave out',
    },
    concurrency: { value: 'N', help: 'requests at once with --url; default 8' },
    ...CACHE_OPTIONS,
    ...SOURCE_OPTIONS,
    quiet: { help: 'no progress on stderr' },
  },
  notes:
    'FILE is CSV or TSV with a header, or JSON lines (.jsonl): a text and the route where it belongs. A label that is\n' +
    'empty, null, none or oos stands for out of scope: such a text should have no route. Without --url the model of\n' +
    'the cache folder decides, which is verified and filled first as by pull.',
  exitStatus: '0 when it was measured, whatever the result; 1 when it could not be',
  async run({ config, env, output, positionals: [file = ''], signal, values, version }) {
    const quiet = values.quiet ?? false;
    const unknown = UNKNOWN_LABELS.find((choice) => choice === (values['unknown-labels'] ?? 'error'));
    if (!unknown) throw usageFault(`--unknown-labels must be one of ${UNKNOWN_LABELS.join(', ')}`);
    const concurrency = Number(values.concurrency ?? 8);
    if (!Number.isInteger(concurrency) || concurrency < 1 || concurrency > 256) {
      throw usageFault('--concurrency must be a whole number from 1 to 256');
    }
    if (values.url !== undefined && values.routes !== undefined) {
      throw usageFault('--url measures the routes of the daemon; --routes cannot go with it (--compare can)');
    }
    if (values.url !== undefined && !/^https?:\/\//i.test(values.url)) {
      throw usageFault('--url must start with http:// or https://');
    }
    const text = await readInput(file, MAX_FILE_BYTES);
    const examples = parseLabelled(text, {
      origin: basename(file),
      ...(values['text-column'] !== undefined && { textColumn: values['text-column'] }),
      ...(values['label-column'] !== undefined && { labelColumn: values['label-column'] }),
    });

    const { url } = values;
    const remote =
      url === undefined
        ? undefined
        : await daemonJudge(
            connectDaemon(url, { key: env.AI_ROUTER_KEY, retries: MAX_RETRIES }),
            concurrency,
            signal,
          );
    const files = [
      ...(remote ? [] : [values.routes ?? config.routesFile]),
      ...(values.compare === undefined ? [] : [values.compare]),
    ];
    const sets = await Promise.all(files.map(async (name) => ({ name, set: await readRouteSet(name) })));
    // Before the model is loaded: a label that no route has is found at once.
    const measured = remote
      ? `${remote.name} is measured`
      : `${files[0]} is measured, --routes names another file`;
    const { cases, skipped } = resolveLabels(
      examples,
      new Set([...(remote?.routes ?? []), ...sets.flatMap(({ set }) => [...set.indexOf.keys()])]),
      unknown,
      measured,
    );
    const progress = (title: string): Progress => {
      const bar = new Progress(quiet ? SILENT : process.stderr, 'texts', title);
      output.beforeNote = () => bar.clear();
      return bar;
    };
    const judgeBy = async (judge: Judge): Promise<Side> => {
      const bar = progress(basename(judge.name));
      const judgement = await judgeAll(judge, cases, signal, (done, total) => bar.reached(done, total));
      bar.end();
      return { judge, judgement };
    };
    const sides = remote ? [await judgeBy(remote)] : [];
    if (sets.length > 0) {
      await withLocalModel({ config, output, signal, quiet }, async (model) => {
        // Unbounded: the second set is judged on the same texts at no cost.
        const embedder = new EmbeddingCache(model.embedder, Number.MAX_SAFE_INTEGER);
        const encoder: Encoder = { ...model, embedder };
        for (const { name, set } of sets) {
          const classifier = createClassifier({ method: config.classifyMethod });
          const bar = progress('embedding utterances');
          const onProgress = (done: number, total: number): void => bar.reached(done, total);
          await classifier.load(set, { encoder, signal, onProgress });
          bar.end();
          sides.push(await judgeBy(localJudge(name, classifier, 2 * config.workers)));
        }
      });
    }

    const { evaluation, comparison } = resultsOf(sides);
    if (values.html !== undefined) {
      const page = htmlReport(evaluation, comparison, { file: basename(file), at: new Date(), version });
      await writeFile(values.html, page).catch((cause: unknown) => {
        throw new AppError('config_invalid', `cannot write ${values.html}: ${fileFault(cause, true)}`, {
          cause,
        });
      });
    }
    return {
      ok: true,
      report: { file, skipped, ...evaluation, comparison: comparison ?? null },
      text: [
        ...evaluationLines(evaluation),
        ...(skipped > 0 ? [`  ${skipped} texts left out: no route has their label`] : []),
        ...(comparison ? comparisonLines(comparison) : []),
        ...(values.html === undefined ? [] : ['', `report: ${values.html}`]),
      ],
    };
  },
});

interface Side {
  readonly judge: Judge;
  readonly judgement: Judgement;
}

/** @param sides what is measured, and what it is compared with */
function resultsOf([now, before]: readonly Side[]): {
  readonly evaluation: Evaluation;
  readonly comparison: SetComparison | undefined;
} {
  if (!now) throw new AppError('internal', 'nothing was measured');
  const named = ({ judge, judgement }: Side) => ({ name: judge.name, judged: judgement.judged });
  return {
    evaluation: measure(now.judge, now.judgement),
    comparison: before && compareJudgements(named(before), named(now)),
  };
}
