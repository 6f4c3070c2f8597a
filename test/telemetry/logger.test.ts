import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';

/** A terminal's and a line's control characters in a path, a message and an error. */
const SCRIPT = `
  const { createLogger } = await import('./src/telemetry/logger.ts');
  const { log, flush } = await createLogger({ logLevel: 'info', logFormat: process.argv[1] });
  log.info({ path: '/a\\u001b[2J\\r\\nforged' }, 'hello\\u001b[31m\\nforged');
  log.error({ err: new Error('bad\\r\\nforged\\u0007\\u202e') }, 'failed');
  flush();
`;

function logged(format: string): string {
  const { stdout } = spawnSync(
    process.execPath,
    ['--import', 'tsx', '--input-type=module', '-e', SCRIPT, format],
    {
      encoding: 'utf8',
    },
  );
  return stdout;
}

describe('control characters from outside', () => {
  it('stay inside of their JSON', () => {
    const lines = logged('json').trim().split('\n');
    const messages = lines.map((line) => (JSON.parse(line) as { msg: string }).msg);
    expect(messages.sort()).toEqual(['failed', 'hello\u001b[31m\nforged']);
  });

  it('are written out for people', () => {
    const text = logged('pretty');
    expect(text).toContain('hello\\u001b[31m\\u000aforged');
    expect(text).not.toMatch(/^forged/m);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
    expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u202e]/);
  });
});
