import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { terminalText } from '../../src/telemetry/logger.js';

/** A terminal's and a line's control characters in a path, a message and an error. */
const SCRIPT = `
  const { createLogger } = await import('./src/telemetry/logger.ts');
  const { log, flush } = await createLogger({ logLevel: 'info', logFormat: process.argv[1] });
  log.info({ path: '/a\\u001b[2J\\r\\nforged' }, 'hello\\u001b[31m\\nforged');
  log.error({ faults: ['a.yaml:1:2: one', 'two\\nforged'] }, 'refused');
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
    expect(messages.sort()).toEqual(['failed', 'hello\u001b[31m\nforged', 'refused']);
  });

  it('are written out for people', () => {
    const text = logged('pretty');
    expect(text).toContain('hello\\u001b[31m\\u000aforged');
    expect(text).not.toMatch(/^forged/m);
    expect(text).toMatch(/refused\n {4}a\.yaml:1:2: one\n {4}two\\u000aforged\n/);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
    expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u202e]/);
  });
});

describe('a line on a terminal', () => {
  const info = { level: 30 };
  const ids = { request_id: 'a-request', trace_id: undefined, span_id: undefined };

  it.each<[string, object, string]>([
    [
      'a request',
      { ...info, ...ids, msg: 'request', method: 'POST', path: '/classify', status: 200, duration_ms: 4.21 },
      'POST /classify 200 4.2 ms',
    ],
    [
      'a failed request, to be found in traces',
      { ...info, ...ids, msg: 'request', method: 'GET', path: '/routes', status: 503, duration_ms: 1 },
      'GET /routes 503 1.0 ms request_id=a-request',
    ],
    [
      'ready',
      { ...info, msg: 'ready', url: 'http://localhost:3000', boot_ms: 412, routes: 16 },
      'ready on http://localhost:3000 in 0.4 s, 16 routes',
    ],
    [
      'an event, its numbers rounded and its identifiers left out',
      {
        ...info,
        msg: 'blob fetched',
        path: 'a b',
        digest: 'sha256:00',
        bytes: 22_972_370,
        lasted_ms: 1_462.3,
      },
      'blob fetched path="a b" bytes=23.0MB lasted=1.5s',
    ],
    [
      'a warning, with its identifiers',
      { level: 40, msg: 'blob is corrupt', sha256: 'ab'.repeat(32), fetched: ['a', 'b', 'c'] },
      'blob is corrupt sha256=abababababab… fetched=3',
    ],
    [
      'an attempt that failed',
      { level: 40, msg: 'cache is still not whole', code: 'sources_exhausted', retry_in_s: 3.7 },
      'cache is still not whole; next attempt in 3.7 s code=sources_exhausted',
    ],
    [
      'an expected error, without its stack',
      {
        level: 50,
        msg: 'failed',
        err: { code: 'draining', message: 'shutting down', stack: 'AppError: at x' },
      },
      'failed: shutting down',
    ],
  ])('is one: %s', (_, line, text) => {
    expect(terminalText({ time: 0, pid: 1, ...line })).toBe(text);
  });

  it('is followed by the stack of an error that was not foreseen', () => {
    const err = { code: 'internal', message: 'oops', stack: 'TypeError: oops\n    at x' };
    expect(terminalText({ level: 50, msg: 'failed', err })).toBe('failed\n    TypeError: oops\n        at x');
  });
});
