import { CACHE_OPTIONS, type Command, command, type Outcome, usageFault } from './command.js';
import { daemonStatus } from './daemon-status.js';
import { folderStatus } from './folder-status.js';

/** `ai-router status`: what a folder holds, or what a running daemon says of its own. */
export const status: Command = command({
  name: 'status',
  operands: '[DIR|URL]',
  operandCount: [0, 1],
  options: {
    ...CACHE_OPTIONS,
    timeout: { type: 'string', value: 'SECONDS', help: 'how long a daemon may take to answer; default 5' },
  },
  notes:
    'With a folder (default: the cache folder of the settings) everything is read and nothing written. With an\n' +
    'http:// or https:// URL, the daemon there is asked for its /cache/status; where it wants a key, put one into\n' +
    'AI_ROUTER_KEY.',
  exitStatus: '0 when the cache is whole, 1 when not, or when the daemon cannot be asked',
  async run({ positionals: [target], config, values, env, signal }): Promise<Outcome> {
    if (target !== undefined && /^https?:\/\//i.test(target)) {
      const seconds = Number(values.timeout ?? 5);
      if (!(seconds > 0 && seconds <= 3_600)) throw usageFault('--timeout must be a number of seconds');
      return daemonStatus(target, { timeoutMs: seconds * 1_000, key: env.AI_ROUTER_KEY, signal });
    }
    return folderStatus(target ?? config.cacheDir, config.manifestFile, signal);
  },
});
