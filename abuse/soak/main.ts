/**
 * An hour in the life of a daemon to which everything happens at once: mixed traffic while blobs are spoilt, sources
 * stall, routes are edited, workers are killed and clients go away. Ends with 1 when an answer was wrong, an accepted
 * request failed that may not, or memory or descriptors grew.
 */
import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { has } from '../../campaign/tools.js';
import { reportPage } from './report.js';
import { soak } from './soak.js';

const HELP = `Usage: npm run soak -- [--minutes 60] [--report soak.html] [--json]

  --minutes N    how long; default: 60. The first third is the warm-up
  --report FILE  where the page with the pictures goes; default: soak.html
  --json         the figures as JSON on stdout
`;

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '60' },
    report: { type: 'string', default: 'soak.html' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
const minutes = Number(values.minutes);
if (values.help || !(minutes > 0)) {
  (values.help ? process.stdout : process.stderr).write(HELP);
  process.exit(values.help ? 0 : 2);
}
if (!has('proc')) {
  process.stderr.write('SKIPPED: no proc, which says how large the daemon is\n');
  process.exit(2);
}
const result = await soak(minutes, (line) => void process.stderr.write(`${line}\n`));
await writeFile(values.report, reportPage(result));
const { samples, ...figures } = result;
process.stdout.write(
  values.json
    ? `${JSON.stringify({ ...figures, samples: samples.length }, null, 2)}\n`
    : `${result.lines.join('\n')}\n${result.shortfalls.map((what) => `SHORT  ${what}`).join('\n')}\n`,
);
process.exit(result.shortfalls.length === 0 ? 0 : 1);
