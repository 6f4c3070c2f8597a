import { loadManifest } from '../cache/manifest.js';
import { CACHE_OPTIONS, type Command, command, type Outcome, SOURCE_OPTIONS } from './command.js';
import { type Filling, fillCache } from './fill.js';
import {
  count,
  formatBytes,
  formatDuration,
  modelName,
  modelReport,
  pinnedBytes,
  wholeText,
} from './format.js';
import { warmRoutes } from './local-model.js';

/** `ai-router pull`: fills the cache folder. */
export const pull: Command = command({
  name: 'pull',
  options: {
    ...CACHE_OPTIONS,
    ...SOURCE_OPTIONS,
    routes: { help: 'also embed the routes and train their head, so that the first start has neither to do' },
    quiet: { help: 'no progress on stderr' },
  },
  notes:
    'Existing files are verified and not fetched again; an interrupted pull resumes where it stopped.\n' +
    'Progress goes to stderr: a bar on a terminal, plain lines elsewhere. A daemon may run on the same folder.',
  exitStatus: '0 when every pinned file is there and verified, 1 when not',
  async run({ config, output, signal, values }) {
    const manifest = await loadManifest(config.manifestFile);
    const quiet = values.quiet ?? false;
    const filling = await fillCache({ config, manifest, output, signal, quiet });
    const outcome = outcomeOf(config.cacheDir, manifest, filling);
    if (!filling.report.whole || values.routes !== true) return outcome;
    const routes = await warmRoutes({ config, output, signal, quiet });
    return {
      ...outcome,
      report: { ...outcome.report, routes },
      text: [...outcome.text, `${count(routes, 'route')} ready to be served`],
    };
  },
});

function outcomeOf(
  cacheDir: string,
  manifest: Awaited<ReturnType<typeof loadManifest>>,
  { report, bytesReceived, bytesResumed, sources }: Filling,
): Outcome {
  const text = [
    `${cacheDir}: ${wholeText(report.whole)}: ${modelName(manifest)}, ` +
      `${count(manifest.files.length, 'file')}, ${formatBytes(pinnedBytes(manifest))}`,
  ];
  if (report.fetched.length > 0) {
    const resumed = bytesResumed > 0 ? `, ${formatBytes(bytesResumed)} kept from before` : '';
    text.push(
      `fetched ${count(report.fetched.length, 'file')}: ${formatBytes(bytesReceived)} from ${sources.join(', ')}` +
        `${resumed}, in ${formatDuration(report.duration_ms)}`,
    );
  } else if (report.whole) {
    text.push('nothing to fetch');
  }
  return {
    ok: report.whole,
    report: {
      cache_dir: cacheDir,
      model: modelReport(manifest),
      whole: report.whole,
      fetched: report.fetched,
      bytes_received: bytesReceived,
      bytes_resumed: bytesResumed,
      sources,
      duration_ms: report.duration_ms,
      failures: report.failures,
      error: report.error,
    },
    text,
  };
}
