import { defaultTextOf } from '../src/config/config.js';
import { SETTINGS, type Setting } from '../src/config/settings.js';

/** One row per setting, in the order of `--help`. */
export function settingRows(): string[] {
  const settings: Setting<unknown>[] = Object.values(SETTINGS);
  return settings.map((setting) => `| \`${setting.env}\` | ${defaultTextOf(setting)} | ${setting.help} |`);
}

/** The text of `docs/settings.md`. */
export function settingsPage(): string {
  return `# Settings

Environment variables. All of them are checked before anything listens: a wrong one ends the start with exit status 2
and a message that names every fault at once, and no secret. An empty variable counts as unset. Times are in
milliseconds where the name ends in \`_MS\`. \`node dist/main.js --help\` prints the same.

| variable | default | meaning |
|---|---|---|
${settingRows().join('\n')}

<!-- Made of src/settings.ts by \`npm run openapi\`; a test compares. -->
`;
}
