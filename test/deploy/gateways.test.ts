import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.js';
import { eventually } from '../support/eventually.js';
import { listen } from '../support/listen.js';
import { suiteEnd } from '../support/suite.js';
import { temporaryFolder } from '../support/volume.js';

const atEnd = suiteEnd();
const run = promisify(execFile);
const works = (command: string): Promise<boolean> =>
  run(command, ['-v']).then(
    () => true,
    () => false,
  );
const hasNginx = await works('nginx');
const hasHaproxy = await works('haproxy');
if (!hasNginx || !hasHaproxy) process.stderr.write('SKIPPED: nginx or haproxy is not installed\n');

let daemons: TestDaemon[];

beforeAll(async () => {
  if (!hasNginx && !hasHaproxy) return;
  const folder = await temporaryFolder(atEnd);
  await writeFile(join(folder, 'routes.yaml'), '- { name: food, utterances: [I am hungry] }\n');
  daemons = await Promise.all(
    ['a', 'b', 'c'].map((name) =>
      startDaemon(
        {
          MODEL_CACHE_DIR: join(folder, name),
          ROUTES_FILE: join(folder, 'routes.yaml'),
          CLASSIFY_METHOD: 'nearest',
          HF_HUB_OFFLINE: '1',
          INFERENCE_WORKERS: '1',
          SHUTDOWN_DELAY_MS: '4000',
        },
        { atEnd },
      ),
    ),
  );
  for (const daemon of daemons) await daemon.ready(60_000);
}, 120_000);

/** A port that nothing listens on. */
async function freePort(): Promise<number> {
  const server = createTcpServer();
  await listen(server, '127.0.0.1');
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}

/** Starts a proxy with its recipe, whose ports are replaced, and returns its address. */
async function start(
  recipe: string,
  wrap: (text: string, folder: string) => string,
  args: (file: string) => string[],
  others: Readonly<Record<string, number>> = {},
): Promise<string> {
  const folder = await temporaryFolder();
  const port = await freePort();
  let text = await readFile(`deploy/gateways/${recipe}`, 'utf8');
  const ports = { '127.0.0.1:3001': daemons[0]?.url, '127.0.0.1:3002': daemons.at(-1)?.url };
  for (const [from, to] of Object.entries(ports)) text = text.replaceAll(from, new URL(to ?? '').host);
  for (const [from, to] of Object.entries(others)) text = text.replaceAll(from, `127.0.0.1:${to}`);
  text = text.replace(/127\.0\.0\.1:808\d/, `127.0.0.1:${port}`);
  const file = join(folder, recipe);
  await writeFile(file, wrap(text, folder));
  const [command = '', ...rest] = args(file);
  const child = spawn(command, rest, { stdio: 'ignore' });
  onTestFinished(async () => {
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    await ended;
  });
  const url = `http://127.0.0.1:${port}`;
  await eventually(async () => expect((await fetch(`${url}/readyz`)).status).toBe(200));
  return url;
}

const nginx = (others: Readonly<Record<string, number>> = {}): Promise<string> =>
  start(
    'nginx.conf',
    (text, folder) =>
      `daemon off; pid ${folder}/pid; error_log ${folder}/error.log; events {} http { access_log off; client_body_temp_path ${folder}/b; proxy_temp_path ${folder}/p; fastcgi_temp_path ${folder}/f; uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s;\n${text}}`,
    (file) => ['nginx', '-c', file],
    others,
  );
const haproxy = (): Promise<string> =>
  start(
    'haproxy.cfg',
    (text) => text,
    (file) => ['haproxy', '-db', '-f', file],
  );

describe.skipIf(!hasNginx)('nginx', () => {
  it('adds the decision to a request, and takes away what the client itself sent', async () => {
    const seen: unknown[] = [];
    const backend = createServer((request, response) => {
      seen.push([request.headers['x-ai-router-route'], Number(request.headers['x-ai-router-score']) > 0]);
      response.end();
    });
    await listen(backend, '127.0.0.1');
    onTestFinished(() => void backend.close());
    const url = await nginx({ '127.0.0.1:3003': (backend.address() as AddressInfo).port });
    await fetch(`${url}/search?q=I%20am%20hungry`);
    await fetch(`${url}/search`, { headers: { 'x-ai-router-route': 'forged' } });
    expect(seen).toEqual([
      ['food', true],
      [undefined, false],
    ]);
  });
});

describe.skipIf(!hasNginx || !hasHaproxy)('a replica that ends behind a proxy costs no request', () => {
  it('haproxy', () => withoutLoss(haproxy), 120_000);
  it('nginx', () => withoutLoss(nginx), 120_000);
});

/** Ends one of two replicas while requests go through a proxy. */
async function withoutLoss(proxy: () => Promise<string>): Promise<void> {
  const url = await proxy();
  const spare = daemons.pop();
  let ended: Promise<unknown> | undefined;
  let over = false;
  const statuses: number[] = [];
  for (let sent = 0; !over || sent < 50; sent += 1) {
    const answer = await fetch(`${url}/classify`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ text: `hungry ${sent}` }),
    });
    await answer.arrayBuffer();
    statuses.push(answer.status);
    if (sent === 20) {
      ended = spare?.stop().then(() => {
        over = true;
      });
    }
  }
  await ended;
  expect(statuses.filter((status) => status !== 200)).toEqual([]);
}
