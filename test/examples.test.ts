import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { useDaemon } from './support/daemon.js';
import { suiteEnd } from './support/suite.js';

const run = promisify(execFile);
const atEnd = suiteEnd();

const daemon = useDaemon();

function environment(env: Record<string, string> = {}): Record<string, string | undefined> {
  return { PATH: process.env.PATH, AI_ROUTER_URL: daemon.url, ...env };
}

/** Runs an example to its end, and gives what it printed. */
async function output(
  name: string,
  env: Record<string, string> = {},
  args: readonly string[] = [],
  input = '',
): Promise<string> {
  const command = name.endsWith('.sh') ? 'sh' : process.execPath;
  const running = run(command, [`examples/${name}`, ...args], { env: environment(env) });
  running.child.stdin?.end(input);
  return (await running).stdout;
}

it('runs every example', async () => {
  const parts = ['README.md', 'ask.mjs', 'fake-llm.mjs'];
  const run = ['curl.sh', 'koa-middleware.mjs', 'llm-router.mjs', 'support-desk.mjs'];
  // Those of docs/routes.md, which test/pages.test.ts runs.
  const samples = ['labelled.csv', 'shop-before.yaml', 'shop-draft.yaml', 'shop.yaml'];
  expect((await readdir('examples')).sort()).toEqual([...parts, ...run, ...samples].sort());
});

it.each(['support-desk.mjs', 'curl.sh'])('%s: says in one sentence that no daemon is there', async (name) => {
  const url = 'http://127.0.0.1:9';
  await expect(output(name, { AI_ROUTER_URL: url })).rejects.toMatchObject({
    stderr: `no ai-router at ${url} (AI_ROUTER_URL): start one with npm start\n`,
  });
});

it('llm-router.mjs: the small model for what is easy, the large one for the rest', async () => {
  const lines = (await output('llm-router.mjs')).split('\n');
  expect(lines[1]).toMatch(/^ {2}translation → small-model \(score [\d.]+\)$/);
  expect(lines[2]).toContain('small-model would answer');
  expect(lines[4]).toMatch(/^ {2}code_debugging → large-model/);
  expect(lines[7]).toMatch(/^ {2}no route → large-model/);
});

it('llm-router.mjs: answers without the daemon too, and from where it is pointed to', async () => {
  const gone = { AI_ROUTER_URL: 'http://127.0.0.1:9', LARGE_MODEL: 'big' };
  expect(await output('llm-router.mjs', gone, ['hello'])).toContain(
    'no route → big (no ai-router at http://127.0.0.1:9 (AI_ROUTER_URL): start one with npm start)',
  );
  const elsewhere = output('llm-router.mjs', { LLM_BASE_URL: `${daemon.url}/v1` }, ['hello']);
  await expect(elsewhere).rejects.toThrow('the language model answered 404');
});

it('support-desk.mjs: sends tickets to teams, and what is unclear to a person', async () => {
  const lines = (await output('support-desk.mjs')).split('\n');
  expect(lines.filter((line) => line.includes('→')).map((line) => line.trim())).toEqual([
    '→ finance, answer within 24 h',
    '→ logistics, answer within 8 h',
    '→ returns, answer within 24 h',
    expect.stringMatching(/^→ a person/),
  ]);
  const given = await output('support-desk.mjs', {}, [], 'please cancel my order\n');
  expect(given).toMatch(/please cancel my order\n +→ orders, answer within 8 h/);
});

it('curl.sh: asks everything', async () => {
  const answers = [...(await output('curl.sh')).matchAll(/^[[{].*$/gm)].map(([json]) => JSON.parse(json));
  expect(answers).toHaveLength(9);
  expect(answers[0]).toMatchObject({ status: 'ready' });
  expect(answers[1]).toMatchObject({ route: 'account_billing' });
  expect(answers[2]).toMatchObject({ route: 'weather', candidates: [{ nearest: expect.any(Array) }] });
  expect(answers[3].candidates).toHaveLength(3);
  expect(answers[4].results.map(({ route }: { route: string }) => route)).toEqual(['translation', 'math']);
  expect(answers[5]).toMatchObject({ data: [{ embedding: expect.any(String) }] });
  expect(answers[6][0]).toHaveLength(384);
});

it('koa-middleware.mjs: handles messages by their meaning, and without the daemon', async () => {
  const service = async (env: Record<string, string>) => {
    const child = spawn(process.execPath, ['examples/koa-middleware.mjs'], {
      env: environment({ PORT: '0', NODE_ENV: 'test', ...env }),
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    atEnd(() => void child.kill('SIGKILL'));
    return { child, url: await urlOf(child) };
  };
  const send = async (url: string, body: string) => {
    const init = { method: 'POST', body, headers: { 'content-type': 'application/json' } };
    const response = await fetch(`${url}/messages`, init);
    return { status: response.status, body: await response.text() };
  };
  const [whole, alone] = await Promise.all([
    service({ PATIENCE_MS: '25000' }),
    service({ AI_ROUTER_URL: 'http://127.0.0.1:9' }),
  ]);
  const message = JSON.stringify({ text: 'my card was charged twice' });
  expect(JSON.parse((await send(whole.url, message)).body)).toEqual({
    route: 'account_billing',
    reply: 'Our billing team looks into it.',
  });
  expect((await send(whole.url, '{"txt": 1}')).status).toBe(400);
  expect((await send(whole.url, '{')).status).toBe(400);
  expect(JSON.parse((await send(alone.url, message)).body)).toEqual({
    route: null,
    reply: 'Thank you, a person will answer.',
  });
  whole.child.kill('SIGTERM');
  expect(await once(whole.child, 'exit')).toEqual([0, null]);
});

async function urlOf(child: ChildProcess): Promise<string> {
  if (!child.stdout) throw new Error('no output');
  for await (const line of createInterface({ input: child.stdout })) {
    const [url] = /http:\S+/.exec(line) ?? [];
    if (url) return url;
  }
  throw new Error('it ended before it listened');
}
