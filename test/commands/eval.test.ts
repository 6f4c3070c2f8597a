import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { SetComparison } from '../../src/commands/evaluation/comparison.js';
import type { Evaluation } from '../../src/commands/evaluation/evaluation.js';
import { servingDaemon } from '../support/daemon.js';
import { suiteEnd } from '../support/suite.js';
import { temporaryFolder } from '../support/volume.js';
import { run, runJson } from './program.js';

const atEnd = suiteEnd();

type Report = Evaluation & { ok: boolean; skipped: number; comparison: SetComparison | null };

const ROUTES = {
  food: ['order a pizza', 'I am hungry', 'bring me a burger', 'table for two tonight'],
  sleep: ['good night', 'I am tired', 'wake me at seven', 'set an alarm'],
};
const LABELLED =
  'text,label\n"a pizza, please",food\nI want to eat <b>something</b>,food\nI need some rest,sleep\nwake me up early,sleep\nthe stock market fell,\nderivative of x squared,none\n';

let folder: string;
let env: Record<string, string>;
/** Result of the routes file by itself. */
let first: Report;
const at = (name: string): string => join(folder, name);

beforeAll(async () => {
  folder = await temporaryFolder(atEnd);
  env = {
    MODEL_CACHE_DIR: at('volume'),
    MODEL_SOURCES: 'bundled',
    INFERENCE_WORKERS: '1',
    ROUTES_FILE: at('new.json'),
  };
  const write = (name: string, routes: Record<string, readonly string[]>): Promise<void> =>
    writeFile(
      at(name),
      JSON.stringify(Object.entries(routes).map(([route, utterances]) => ({ name: route, utterances }))),
    );
  await write('new.json', ROUTES);
  // Before, everything was the wrong way round.
  await write('old.json', { food: ROUTES.sleep, sleep: ROUTES.food });
  await writeFile(at('test.csv'), LABELLED);
});

describe('eval', () => {
  it('measures a routes file, and writes a page that needs nothing else and runs nothing', async () => {
    const { code, report } = await runJson<Report>(
      ['eval', at('test.csv'), '--html', at('r.html'), '--quiet'],
      env,
    );
    expect(code).toBe(0);
    expect(report).toMatchObject({
      texts: 6,
      in_scope: { texts: 4, top1_accuracy: 1 },
      out_of_scope: { texts: 2, auroc: 1 },
      comparison: null,
      model: { variant: 'q8' },
    });
    first = report;
    expect(report.by_route.map(({ route, texts }) => [route, texts])).toEqual([
      ['food', 2],
      ['sleep', 2],
    ]);
    const page = await readFile(at('r.html'), 'utf8');
    expect(page).toMatch(/^<!doctype html>/);
    expect(page).not.toMatch(/<script|<link|src=|href=|url\(|@import|https?:/);
    expect(page).not.toContain(folder);
    expect(page).not.toContain('<b>something');
  });

  it('compares with another set: what is fixed, what is broken', async () => {
    const { report } = await runJson<Report>(
      ['eval', at('test.csv'), '--compare', at('old.json'), '--html', at('c.html'), '--quiet'],
      env,
    );
    expect(report.comparison).toMatchObject({ fixed: 4, broken: 0, p_value: 0.125 });
    expect(report.comparison?.fixed_texts[0]).toMatchObject({
      text: 'a pizza, please',
      before: 'sleep',
      after: 'food',
      line: 2,
    });
    expect(await readFile(at('c.html'), 'utf8')).toMatch(/What changed[\s\S]*Fixed: 4/);
  });

  it('measures a daemon, which decides as the file does', async () => {
    const daemon = await servingDaemon({ ...env });
    const remote = await runJson<Report>(['eval', at('test.csv'), '--url', daemon.url, '--quiet']);
    expect(remote.code).toBe(0);
    const { name: _n, latency: _l, ...measured } = remote.report;
    expect(first).toMatchObject(measured);
    // No digits that so few texts do not carry.
    const { stdout } = await run(['eval', at('test.csv'), '--url', daemon.url, '--quiet']);
    expect(stdout).toMatch(/few texts: with \d, chance alone moves a share by up to \d\d points/);
    expect(stdout).not.toMatch(/\d\.\d %|\.\d{3}/);
    await daemon.stop();
    const gone = await run(['eval', at('test.csv'), '--url', daemon.url]);
    expect(gone).toMatchObject({ code: 1, stderr: expect.stringMatching(/is a daemon running there/) });
  });

  it('refuses what it cannot measure, with 2', async () => {
    await writeFile(at('strange.csv'), 'text,label\nhello,fod\n');
    const strange = await run(['eval', at('strange.csv'), '--quiet'], env);
    expect(strange).toMatchObject({ code: 2, stderr: expect.stringMatching(/"fod" \(1×; is it "food"\?\)/) });
    for (const [args, message] of [
      [['eval'], /needs an operand: ai-router eval FILE/],
      [['eval', at('none.csv')], /none\.csv does not exist \(looked in /],
      [['eval', at('test.csv'), '--url', 'x', '--routes', 'y'], /--url measures/],
      [['eval', at('test.csv'), '--text-column', 'nope'], /no column "nope"/],
    ] as const) {
      expect(await run(args, env)).toMatchObject({ code: 2, stderr: expect.stringMatching(message) });
    }
  });
});
