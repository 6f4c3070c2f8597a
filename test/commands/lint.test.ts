import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { LintReport } from '../../src/api/lint.js';
import { suiteEnd } from '../support/suite.js';
import { temporaryFolder } from '../support/volume.js';
import { run, runJson } from './program.js';

const atEnd = suiteEnd();

let folder: string;
let env: Record<string, string>;

beforeAll(async () => {
  folder = await temporaryFolder(atEnd);
  env = { MODEL_CACHE_DIR: join(folder, 'volume'), MODEL_SOURCES: 'bundled', INFERENCE_WORKERS: '1' };
  await writeFile(
    join(folder, 'bad.yaml'),
    'routes:\n  - name: pay\n    utterances: [pay the bill, where is my invoice, Refund me!]\n  - name: refund\n    utterances: [refund me, I want my money back, return the payment]\n',
  );
  await writeFile(join(folder, 'broken.yaml'), 'routes:\n  - name: pay\n    utterances: 7\n');
});

describe('lint', () => {
  it('fills the cache, names what contradicts itself, and ends with 1', async () => {
    const { code, stdout } = await run(['lint', join(folder, 'bad.yaml')], env);
    expect(code).toBe(1);
    expect(stdout).toMatch(/error: "Refund me!" stands in "pay" and "refund"\n {4}Keep it where it belongs/);
    expect(stdout).toMatch(/2 routes, 6 utterances: 1 error/);
  });

  it('lets no utterance control the terminal or fake a line', { timeout: 120_000 }, async () => {
    const file = join(folder, 'escapes.json');
    const hostile = 'clear\u001b[2J\nerror: faked\u009b31m';
    const utterances = [hostile, 'two', 'three'];
    await writeFile(
      file,
      JSON.stringify({
        routes: [
          { name: 'a', utterances },
          { name: 'b', utterances: [hostile, 'x', 'y'] },
        ],
      }),
    );
    const { code, stdout } = await run(['lint', file], env);
    expect(code).toBe(1);
    expect(stdout).toContain('error: "clear\\u001b[2J\\u000aerror: faked\\u009b31m" stands in "a" and "b"');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must be missing
    expect(stdout).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
    const { report, stdout: json } = await runJson<LintReport>(['lint', file], env);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must be missing
    expect(json).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
    expect(report.findings[0]?.utterances[0]?.utterance).toBe(hostile);
  });

  it('fails on the findings that --fail-on names', async () => {
    expect((await run(['lint', join(folder, 'bad.yaml'), '--fail-on', 'never', '--quiet'], env)).code).toBe(
      0,
    );
    expect(await run(['lint', '--fail-on', 'sometimes'], env)).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/--fail-on must be one of error, warning, info, never/),
    });
  });

  it('looks over ROUTES_FILE where none is named, and says all of it as JSON', async () => {
    const { code, report } = await runJson<LintReport & { ok: boolean; file: string }>(['lint'], {
      ...env,
      ROUTES_FILE: 'routes/support-desk.yaml',
    });
    expect(code).toBe(0);
    expect(report).toMatchObject({ ok: true, file: expect.stringMatching(/support-desk\.yaml$/) });
    expect(report.accuracy).toBeGreaterThan(0.7);
    expect(report.by_route.length).toBe(report.routes);
  });

  it('ends with 2 for a file that is no route set', async () => {
    expect(await run(['lint', join(folder, 'broken.yaml')], env)).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/broken\.yaml:3:\d+: .*utterances/),
    });
  });
});
