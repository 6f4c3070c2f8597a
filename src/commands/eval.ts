import { writeFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { Classifier } from '../classify/classifier.js';
import type { Encoder } from '../classify/encoder.js';
import { readTextFile } from '../classify/text-file.js';
import { AppError, messageOf } from '../errors.js';
import { compareJudgements } from '../evaluate/comparison.js';
import { daemonJudge } from '../evaluate/daemon-judge.js';
import { evaluate as measure } from '../evaluate/evaluation.js';
import { htmlPage } from '../evaluate/html/page.js';
import { type Judge, type Judgement, judgeAll, localJudge } from '../evaluate/judge.js';
import { parseLabelled } from '../evaluate/labelled-file.js';
import { resolveLabels, UNKNOWN_LABELS } from '../evaluate/labels.js';
import { RememberingEmbedder } from '../evaluate/remembering-embedder.js';
import { CACHE_OPTIONS, type Command, command, SOURCE_OPTIONS, usageFault } from './command.js';
import { CountProgress } from './count-progress.js';
import { comparisonLines, evaluationLines } from './eval-lines.js';
import { withLocalModel } from './local-model.js';
import { readRouteSet } from './route-set-file.js';

/** A labelled file is never larger than this (256 MiB). */
const MAX_FILE_BYTES = 2 ** 28;

/** `ai-router eval`: how good a route set is on labelled texts. */
export const evaluate: Command = command({
  name: 'eval',
  summary: 'measures a route set on labelled texts, or compares two',
  operands: 'FILE',
  operandCount: [1, 1],
  options: {
    routes: { type: 'string', value: 'FILE', help: 'the routes to measure; default ROUTES_FILE' },
    url: { type: 'string', value: 'URL', help: 'measure the routes of the daemon there, over HTTP' },
    compare: { type: 'string', value: 'FILE', help: 'routes to compare with: what did they decide before?' },
    html: {
      type: 'string',
      value: 'FILE',
      help: 'write a report with pictures, one file without outside resources',
    },
    'text-column': {
      type: 'string',
      value: 'NAME',
      help: 'column of the texts; else found by its usual names',
    },
    'label-column': {
      type: 'string',
      value: 'NAME',
      help: 'column of the routes; else found by its usual names',
    },
    'unknown-labels': {
      type: 'string',
      value: 'error|oos|skip',
      help: 'labels that no route has: refuse (default), count as out of scope, or leave out',
    },
    concurrency: { type: 'string', value: 'N', help: 'requests at once with --url; default 8' },
    ...CACHE_OPTIONS,
    ...SOURCE_OPTIONS,
    quiet: { type: 'boolean', help: 'no progress on stderr' },
  },
  notes:
    'FILE is CSV or TSV with a header, or JSON lines (.jsonl): a text and the route where it belongs. A label that is\n' +
    'empty, null, none or oos stands for out of scope: such a text should be sent nowhere. Without --url the model of\n' +
    'the cache folder decides, which is verified and filled first as by pull.',
  exitStatus: '0 when it was measured, however well it went; 1 when it could not be',
  async run({ config, output, positionals: [file = ''], signal, values, version }) {
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
    const { text } = await readTextFile(file, MAX_FILE_BYTES);
    const examples = parseLabelled(text, {
      origin: basename(file),
      ...(values['text-column'] !== undefined && { textColumn: values['text-column'] }),
      ...(values['label-column'] !== undefined && { labelColumn: values['label-column'] }),
    });

    const judgeBy = async (judges: readonly Judge[]): Promise<Measured> => {
      const names = new Set(judges.flatMap(({ routes }) => routes));
      const { cases, skipped } = resolveLabels(examples, names, unknown);
      const judgements: Judgement[] = [];
      for (const judge of judges) {
        const bar = new CountProgress(process.stderr, basename(judge.name));
        output.beforeNote = () => bar.clear();
        const show = (done: number, total: number): void => (quiet ? undefined : bar.reached(done, total));
        judgements.push(await judgeAll(judge, cases, signal, show));
        bar.clear();
      }
      return { judges, judgements, skipped };
    };
    const { url } = values;
    const remote = url === undefined ? undefined : await daemonJudge(url, concurrency, signal);
    const files = [
      ...(remote ? [] : [values.routes ?? config.routesFile]),
      ...(values.compare === undefined ? [] : [values.compare]),
    ];
    const sets = await Promise.all(files.map(async (name) => ({ name, set: await readRouteSet(name) })));
    const measured =
      sets.length === 0 && remote
        ? await judgeBy([remote])
        : await withLocalModel({ config, output, signal, quiet }, async (model) => {
            const encoder: Encoder = { ...model, embedder: new RememberingEmbedder(model.embedder) };
            const locals: Judge[] = [];
            for (const { name, set } of sets) {
              const classifier = new Classifier();
              const bar = new CountProgress(process.stderr, 'embedding utterances');
              const onProgress = (done: number, total: number): void =>
                quiet ? undefined : bar.reached(done, total);
              await classifier.load(set, { encoder, signal, onProgress });
              bar.clear();
              locals.push(localJudge(name, classifier, 2 * config.workers));
            }
            return judgeBy([...(remote ? [remote] : []), ...locals]);
          });

    const { evaluation, comparison } = resultsOf(measured);
    if (values.html !== undefined) {
      const page = htmlPage(evaluation, comparison, { file: basename(file), at: new Date(), version });
      await writeFile(values.html, page).catch((cause: unknown) => {
        throw new AppError('config_invalid', `cannot write ${values.html}: ${messageOf(cause)}`, { cause });
      });
    }
    return {
      ok: true,
      report: { file, skipped: measured.skipped, ...evaluation, comparison: comparison ?? null },
      text: [
        ...evaluationLines(evaluation),
        ...(measured.skipped > 0 ? [`  ${measured.skipped} texts left out: no route has their label`] : []),
        ...(comparison ? comparisonLines(comparison) : []),
        ...(values.html === undefined ? [] : ['', `report: ${values.html}`]),
      ],
    };
  },
});

interface Measured {
  readonly judges: readonly Judge[];
  readonly judgements: readonly Judgement[];
  readonly skipped: number;
}

function resultsOf({ judges, judgements }: Measured) {
  const [judge, other] = judges;
  const [judgement, before] = judgements;
  if (!judge || !judgement) throw new AppError('internal', 'nothing was measured');
  const evaluation = measure(judge, judgement);
  const comparison =
    other && before
      ? compareJudgements(
          { name: other.name, judged: before.judged },
          { name: judge.name, judged: judgement.judged },
        )
      : undefined;
  return { evaluation, comparison };
}
