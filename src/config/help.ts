import { defaultTextOf } from './config.js';
import { SETTINGS, type Setting } from './settings.js';

/** The text of `--help`. */
export function helpText(version: string): string {
  const settings: Setting<unknown>[] = Object.values(SETTINGS);
  const width = Math.max(...settings.map(({ env }) => env.length)) + 2;
  const rows = settings.map((setting) => {
    const line = `  ${setting.env.padEnd(width)}${setting.help}`;
    return `${line}\n  ${' '.repeat(width)}default: ${defaultTextOf(setting)}`.replaceAll('`', '');
  });
  return `ai-router ${version}: classifies text over HTTP with a verified, self-healing model cache

Usage: ai-router [serve]      start the daemon (what the container does)
       ai-router pull         fill the cache folder with the verified model
       ai-router verify       is the cache folder whole? The exit status says it
       ai-router status       what a cache folder holds, or what a running daemon (by URL) says
       ai-router prune        remove files that no kept manifest names
       ai-router pin          write the manifest of a model
       ai-router doctor       find what goes wrong on platforms, and name the fix
       ai-router lint         look a routes file over: overlaps, strays, duplicates
       ai-router eval         measure routes on a labelled file: accuracy, abstaining, calibration
       ai-router drill        let a copy of a cache folder rot, and prove that it is repaired
       ai-router help COMMAND, or COMMAND --help: its options and exit codes; all take --json
       ai-router --version    the version

Settings come from environment variables; all of them are checked before anything listens.

${rows.join('\n')}

Exit status: 0 after SIGTERM or SIGINT, 1 when something unforeseen ended the daemon, 2 for wrong usage or settings.
`;
}
