import { loadManifest } from '../../cache/manifest.js';
import { CACHE_OPTIONS, type Command, command, SOURCE_OPTIONS, seconds } from '../command.js';
import { count, table, tone } from '../format.js';
import { checkNetwork, checkProcess, checkRoutes, checkRuntime, type Finding } from './checks.js';
import { checkDelivery, checkFallback } from './delivery.js';
import { checkVolume } from './volume.js';

/** `ai-router doctor`: looks for what goes wrong on platforms, and names the fix. */
export const doctor: Command = command({
  name: 'doctor',
  options: {
    ...CACHE_OPTIONS,
    ...SOURCE_OPTIONS,
    'health-budget': {
      value: 'SECONDS',
      help: 'what the platform gives a deploy to become healthy; default 300',
    },
    timeout: { value: 'SECONDS', help: 'how long a source may take for a small file; default 20' },
    strict: { help: 'exit with 1 for warnings, too' },
  },
  notes:
    'Checks: Node, workers, the native runtime, how the process is started, the time it gets to end, port and IPv6, the\n' +
    'cache folder (mount, writable, room, whole), the routes, each source (a small file, with its digest), and whether a\n' +
    'download fits the health check, and FALLBACK_URL where it is set.\n' +
    'Nothing is written but one small file that is removed at once. Run it where the daemon runs, in its environment.',
  exitStatus: '0 when nothing is wrong (warnings allowed unless --strict), 1 when something is',
  async run({ config, env, values, signal }) {
    const manifest = await loadManifest(config.manifestFile);
    const bounds = {
      timeoutMs: seconds('timeout', values.timeout, 20),
      healthBudgetMs: seconds('health-budget', values['health-budget'], 300),
    };
    const findings: Finding[] = [
      ...checkProcess(config, env),
      await checkRuntime(),
      ...(await checkNetwork(config, env)),
      ...(await checkVolume(config, manifest, env)),
      await checkRoutes(config.routesFile, config.classifyMethod),
      ...(await checkDelivery(config, manifest, bounds, signal)),
      ...(await checkFallback(config, bounds.timeoutMs, signal)),
    ];
    const failed = findings.filter(({ status }) => status === 'fail').length;
    const warned = findings.filter(({ status }) => status === 'warn').length;
    return {
      ok: failed === 0 && !(values.strict && warned > 0),
      report: { failed, warned, findings },
      text: [...lines(findings), `${count(failed, 'fault')}, ${count(warned, 'warning')}`],
    };
  },
});

const TONE_OF = { ok: 'good', warn: 'doubtful', fail: 'bad' } as const;

function lines(findings: readonly Finding[]): string[] {
  const rows = table(
    findings.map(({ status, check, detail }) => [tone(TONE_OF[status], status), check, detail]),
  );
  return findings.flatMap(({ fix }, index) => [
    rows[index] ?? '',
    ...(fix === undefined ? [] : [`      fix: ${fix}`]),
  ]);
}
