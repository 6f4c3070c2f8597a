import { AppError, type FieldIssue, messageOf } from '../shared/errors.js';
import { SETTINGS, type Setting } from './settings.js';

type ValueOf<S> = S extends Setting<infer T> ? T : never;

/** The program's settings, all checked. */
export type Config = { readonly [Name in keyof typeof SETTINGS]: ValueOf<(typeof SETTINGS)[Name]> };

/**
 * Reads every setting from the environment. An empty variable counts as unset, as platforms' forms leave them.
 * @throws AppError `config_invalid` that names every fault at once, and no secret
 */
export function readConfig(env: NodeJS.ProcessEnv): Config {
  const issues: FieldIssue[] = [];
  const values: Record<string, unknown> = {};
  for (const [name, setting] of Object.entries<Setting<unknown>>(SETTINGS)) {
    const text = env[setting.env]?.trim();
    if (text === undefined || text === '') {
      values[name] = setting.fallback(env);
      continue;
    }
    try {
      values[name] = setting.parse(text);
    } catch (error) {
      issues.push({ path: setting.env, message: messageOf(error) });
    }
  }
  if (issues.length > 0) {
    const lines = issues.map(({ path, message }) => `\n  ${path} ${message}`);
    throw new AppError('config_invalid', `these settings are wrong:${lines.join('')}`, { issues });
  }
  // Every name of SETTINGS was filled by that setting's own parse or fallback.
  return Object.freeze(values) as Config;
}

/** A default as people read it. */
export function defaultTextOf(setting: Setting<unknown>): string {
  return setting.defaultText ?? `\`${String(setting.fallback({}))}\``;
}
