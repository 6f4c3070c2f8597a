import { readFileSync, unwatchFile, watchFile } from 'node:fs';
import type { Config } from '../config/config.js';
import { keys } from '../config/parsers.js';
import type { Keys } from '../http/auth.js';
import { AppError, errnoOf, messageOf } from '../shared/errors.js';
import type { Log } from '../shared/log.js';

/** Interval in ms at which files of keys are looked at. Mounted secrets are links that are swapped, which gives no event. */
const POLL_MS = 1_000;
const MAX_BYTES = 2 ** 20;

/** The settings that hold keys. */
export type KeysConfig = Pick<Config, 'apiKeys' | 'adminKeys' | 'apiKeysFile' | 'adminKeysFile'>;

/** The keys of the settings and of their files. The files are read again when they change; a bad one changes nothing. */
export class KeyRing {
  readonly #config: KeysConfig;
  readonly #log: Log;
  readonly #files: readonly string[];
  readonly #onChange = (): void => this.#reload();
  #refused: string | undefined;
  /** Another object after each change. */
  current: Keys;

  /** @throws AppError `config_invalid` for a file that cannot be read, or holds no key or a wrong one */
  constructor(config: KeysConfig, log: Log) {
    this.#config = config;
    this.#log = log;
    this.current = readKeys(config);
    this.#files = [config.apiKeysFile, config.adminKeysFile].filter((path) => path !== undefined);
    for (const path of this.#files) watchFile(path, { interval: POLL_MS, persistent: false }, this.#onChange);
  }

  close(): void {
    for (const path of this.#files) unwatchFile(path, this.#onChange);
  }

  #reload(): void {
    try {
      const found = readKeys(this.#config);
      this.#refused = undefined;
      if (JSON.stringify(found) === JSON.stringify(this.current)) return;
      this.current = found;
      const counts = { api_keys: found.apiKeys.length, admin_keys: found.adminKeys.length };
      this.#log.info(counts, 'keys loaded');
    } catch (error) {
      const reason = messageOf(error);
      if (reason !== this.#refused) this.#log.error({ reason }, 'key file refused, the old keys stay');
      this.#refused = reason;
    }
  }
}

/**
 * Reads the keys of the settings and of their files.
 * @throws AppError `config_invalid`
 */
export function readKeys({ apiKeys, adminKeys, apiKeysFile, adminKeysFile }: KeysConfig): Keys {
  return {
    apiKeys: [...apiKeys, ...keysIn('API_KEYS_FILE', apiKeysFile)],
    adminKeys: [...adminKeys, ...keysIn('ADMIN_KEYS_FILE', adminKeysFile)],
  };
}

function keysIn(setting: string, path: string | undefined): readonly string[] {
  if (path === undefined) return [];
  try {
    const text = readFileSync(path, 'utf8');
    if (text.length > MAX_BYTES) throw new Error('is too large for a list of keys');
    const found = keys(text.replaceAll(/^[ \t]*#.*$/gm, '').replaceAll(/\r?\n/g, ','));
    // Without any, everything would be open.
    if (found.length === 0) throw new Error('holds no key');
    return found;
  } catch (cause) {
    const errno = errnoOf(cause);
    const reason =
      errno === undefined
        ? messageOf(cause)
        : errno === 'ENOENT'
          ? 'is missing'
          : `cannot be read (${errno})`;
    throw new AppError('config_invalid', `${setting}: ${path} ${reason}`, { cause });
  }
}
