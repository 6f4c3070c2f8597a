import type { Finding, LintReport, Severity } from '../api/lint.js';
import { lintRoutes } from '../lint/lint.js';
import { embedRoutes } from '../scoring/vectors.js';
import { CACHE_OPTIONS, type Command, command, type Outcome, SOURCE_OPTIONS, usageFault } from './command.js';
import { count, table, tone } from './format.js';
import { readRouteSet, withLocalModel } from './local-model.js';
import { Progress, SILENT } from './progress.js';

const FAIL_ON = ['error', 'warning', 'info', 'never'] as const;
/** Findings of one severity that people are shown unless they ask for all. */
const SHOWN = 15;
/** Utterances that are compared with all the others. */
const MAX_EXAMINED = 20_000;

/** `ai-router lint`: what could be better about a routes file. */
export const lint: Command = command({
  name: 'lint',
  operands: '[FILE]',
  operandCount: [0, 1],
  options: {
    ...CACHE_OPTIONS,
    ...SOURCE_OPTIONS,
    'fail-on': {
      value: 'error|warning|info|never',
      help: 'exit with 1 for findings of this severity or a worse one; default error',
    },
    all: { help: `show every finding, not only the first ${SHOWN} of each severity` },
    quiet: { help: 'no progress on stderr' },
  },
  notes:
    'FILE is a routes file in YAML or JSON; default: ROUTES_FILE. Each utterance is compared with all the others by\n' +
    'the model in the cache folder, which is filled first if need be.',
  exitStatus: '0 when nothing is as severe as --fail-on says, 1 when something is',
  async run({ config, output, positionals: [file = config.routesFile], signal, values }) {
    const failOn = FAIL_ON.find((severity) => severity === (values['fail-on'] ?? 'error'));
    if (!failOn) throw usageFault(`--fail-on must be one of ${FAIL_ON.join(', ')}`);
    const set = await readRouteSet(file);
    const quiet = values.quiet ?? false;
    const report = await withLocalModel({ config, output, signal, quiet }, async ({ embedder, cache }) => {
      const bar = new Progress(quiet ? SILENT : process.stderr, 'texts', '');
      output.beforeNote = () => bar.clear();
      const progress = (label: string) => (done: number, total: number) => bar.reached(done, total, label);
      try {
        const onProgress = progress('embedding utterances');
        const { vectors } = await embedRoutes(set, embedder, { signal, ...(cache && { cache }), onProgress });
        return await lintRoutes(set, vectors, {
          ...{ signal, maxExamined: MAX_EXAMINED, onProgress: progress('comparing utterances') },
        });
      } finally {
        bar.end();
      }
    });
    const warnings = set.warnings.map(({ path, message, line, column }) => ({ path, message, line, column }));
    return outcomeOf(file, report, warnings, failOn, values.all ?? false);
  },
});

function outcomeOf(
  file: string,
  report: LintReport,
  warnings: readonly { path: string; message: string; line: number }[],
  failOn: (typeof FAIL_ON)[number],
  all: boolean,
): Outcome {
  const failing = FAIL_ON.slice(0, FAIL_ON.indexOf(failOn) + 1);
  const ok = failOn === 'never' || !report.findings.some(({ severity }) => failing.includes(severity));
  const { counts } = report;
  return {
    ok,
    report: { file, ...report, warnings },
    text: [
      // Of an utterance in two routes a finding says more.
      ...warnings
        .filter(({ message }) => !message.includes('is also an utterance of'))
        .map(({ line, message }) => `line ${line}: ${message}`),
      ...(['error', 'warning', 'info'] as const).flatMap((severity) => linesOf(severity, report, all)),
      ...weakest(report),
      `${file}: ${count(report.routes, 'route')}, ${count(report.utterances, 'utterance')}: ` +
        `${count(counts.error, 'error')}, ${count(counts.warning, 'warning')}, ${counts.info} worth a look`,
      report.accuracy === null
        ? 'no route has two utterances, so nothing could be left out'
        : `left out in turn, ${(report.accuracy * 100).toFixed(1)} % of ${count(report.examined, 'utterance')} find their way back`,
    ],
  };
}

const TONE_OF = { error: 'bad', warning: 'doubtful', info: 'good' } as const;

function linesOf(severity: Severity, { findings, counts }: LintReport, all: boolean): string[] {
  const found = findings.filter((finding) => finding.severity === severity);
  const shown = all ? found : found.slice(0, SHOWN);
  const hidden = counts[severity] - shown.length;
  const lines = grouped(shown).flatMap(({ advice, messages }) => [
    ...messages.map((message) => `${tone(TONE_OF[severity], severity)}: ${message}`),
    `    ${advice}`,
  ]);
  return hidden > 0 ? [...lines, `… and ${hidden} more (--all shows them, --json has them)`] : lines;
}

/** Findings one after the other that call for the same, with the advice once. */
function grouped(findings: readonly Finding[]): { advice: string; messages: string[] }[] {
  const groups: { advice: string; messages: string[] }[] = [];
  for (const { advice, message } of findings) {
    const last = groups.at(-1);
    if (last?.advice === advice) last.messages.push(message);
    else groups.push({ advice, messages: [message] });
  }
  return groups;
}

/** The routes whose utterances find back least. */
function weakest({ by_route, confusions }: LintReport): string[] {
  const weak = by_route
    .filter(({ examined, recovered }) => recovered < examined)
    .sort((a, b) => a.recovered / a.examined - b.recovered / b.examined)
    .slice(0, 10);
  if (weak.length === 0) return [];
  const rows = weak.map(({ name, examined, recovered, cohesion }) => {
    const away = confusions
      .filter(({ from }) => from === name)
      .slice(0, 3)
      .map(({ to, count: times }) => `${to} (${times})`);
    return [`  ${name}`, `${recovered} of ${examined}`, cohesion.toFixed(2), away.join(', ')];
  });
  const legend =
    '  (found back: left out, it is nearest to its own route; cohesion: how alike the texts of the route are, 1 is the same)';
  return ['', ...table([['  route', 'found back', 'cohesion', 'the others went to'], ...rows]), legend, ''];
}
