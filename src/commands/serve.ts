import { CACHE_OPTIONS, type Command, command, SOURCE_OPTIONS } from './command.js';

/**
 * `ai-router serve` with flags, which override settings; without any, the daemon starts without this file.
 * @param start runs the daemon in this environment; resolves when it listens
 */
export function serve(start: (env: NodeJS.ProcessEnv) => Promise<void>): Command {
  return command({
    name: 'serve',
    options: {
      ...CACHE_OPTIONS,
      ...SOURCE_OPTIONS,
      routes: { value: 'FILE', help: 'the routes', env: 'ROUTES_FILE' },
      port: { value: 'PORT', help: 'the port', env: 'PORT' },
    },
    notes: 'With --json the log is JSON, also on a terminal (LOG_FORMAT=json).',
    exitStatus: '0 after SIGTERM or SIGINT, 1 after an unexpected error',
    async run({ env, output }) {
      await start(output.json ? { ...env, LOG_FORMAT: 'json' } : env);
      // The daemon ends the process.
      return new Promise(() => undefined);
    },
  });
}
