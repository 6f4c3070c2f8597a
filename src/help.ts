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
       ai-router --help       this text
       ai-router --version    the version

Settings come from environment variables; all of them are checked before anything listens.

${rows.join('\n')}

Exit status: 0 after SIGTERM or SIGINT, 1 when something unforeseen ended the daemon, 2 for wrong usage or settings.
`;
}
