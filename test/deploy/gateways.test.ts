import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { type IncomingMessage, type OutgoingHttpHeaders, request } from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.js';
import { eventually } from '../support/eventually.js';
import { freePort, serveHttp } from '../support/listen.js';
import { suiteEnd } from '../support/suite.js';
import { temporaryFolder } from '../support/volume.js';

const atEnd = suiteEnd();
const run = promisify(execFile);
const ENVOY = process.env.ENVOY ?? 'envoy';
const TRAEFIK = process.env.TRAEFIK ?? 'traefik';
const works = async (command: string, argument: string): Promise<boolean> => {
  const found = await run(command, [argument]).then(
    () => true,
    () => false,
  );
  if (!found) process.stderr.write(`SKIPPED: ${command} cannot be run; its recipe is not tried\n`);
  return found;
};
const hasNginx = await works('nginx', '-v');
const hasHaproxy = await works('haproxy', '-v');
const hasEnvoy = await works(ENVOY, '--version');
const hasTraefik = await works(TRAEFIK, 'version');

/** Envoy sends the client's Host along, so that the daemons have to allow it. */
const ENVOY_HOST = 'llm.example.com';
const FORGED = { 'x-ai-router-route': 'forged', 'x-ai-router-score': '1' };
let daemons: TestDaemon[];

beforeAll(async () => {
  const folder = await temporaryFolder(atEnd);
  await writeFile(join(folder, 'routes.yaml'), '- { name: food, utterances: [I am hungry] }\n');
  daemons = await Promise.all(
    ['a', 'b', 'c'].map((name) =>
      startDaemon(
        {
          MODEL_CACHE_DIR: join(folder, name),
          ROUTES_FILE: join(folder, 'routes.yaml'),
          CLASSIFY_METHOD: 'nearest',
          INFERENCE_WORKERS: '1',
          SHUTDOWN_DELAY_MS: '4000',
          // The second is the name by which the other recipes ask.
          ALLOWED_HOSTS: `${ENVOY_HOST},ai-router`,
        },
        { atEnd },
      ),
    ),
  );
  for (const daemon of daemons) await daemon.ready(60_000);
}, 120_000);

/** How a proxy is started with its recipe. */
interface Proxy {
  readonly recipe: string;
  readonly command: string;
  readonly args: (file: string, address: string) => string[];
  /** Puts what the recipe is included into around it. */
  readonly wrap?: (text: string, folder: string) => string;
}

const NGINX: Proxy = {
  recipe: 'nginx.conf',
  command: 'nginx',
  args: (file) => ['-c', file],
  wrap: (text, folder) =>
    `daemon off; pid ${folder}/pid; error_log ${folder}/error.log; events {} http { access_log off; client_body_temp_path ${folder}/b; proxy_temp_path ${folder}/p; fastcgi_temp_path ${folder}/f; uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s;\n${text}}`,
};
const HAPROXY: Proxy = {
  recipe: 'haproxy.cfg',
  command: 'haproxy',
  args: (file) => ['-db', '-f', file],
};
const ENVOY_PROXY: Proxy = {
  recipe: 'envoy.yaml',
  command: ENVOY,
  args: (file) => ['-c', file, '--use-dynamic-base-id', '--concurrency', '1', '-l', 'error'],
};
const TRAEFIK_PROXY: Proxy = {
  recipe: 'traefik.yaml',
  command: TRAEFIK,
  args: (file, address) => [
    `--providers.file.filename=${file}`,
    `--entrypoints.http.address=${address}`,
    '--global.checknewversion=false',
    '--global.sendanonymoususage=false',
  ],
};

/** Starts a proxy with its recipe, whose ports are replaced, and returns its address. */
async function start({ recipe, command, args, wrap }: Proxy, backend?: number): Promise<string> {
  const folder = await temporaryFolder();
  const port = await freePort();
  const ports: Readonly<Record<string, string | number>> = {
    3001: new URL(daemons[0]?.url ?? '').port,
    3002: new URL(daemons.at(-1)?.url ?? '').port,
    3003: backend ?? 3003,
    8080: port,
    8081: port,
    8082: port,
  };
  let text = await readFile(`deploy/gateways/${recipe}`, 'utf8');
  for (const [from, to] of Object.entries(ports))
    text = text.replace(new RegExp(`(127\\.0\\.0\\.1(?::|, port_value: ))${from}`, 'g'), `$1${to}`);
  const file = join(folder, recipe);
  await writeFile(file, wrap?.(text, folder) ?? text);
  const child = spawn(command, args(file, `127.0.0.1:${port}`), { stdio: 'ignore' });
  onTestFinished(async () => {
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    await ended;
  });
  const url = `http://127.0.0.1:${port}`;
  await eventually(async () => expect((await fetch(`${url}/readyz`)).status).toBe(200));
  return url;
}

/** A backend that keeps what it is asked: path, body, route, and whether there is a score. */
async function keeping(seen: unknown[]): Promise<number> {
  const url = await serveHttp((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (piece: string) => {
      body += piece;
    });
    request.on('end', () => {
      const { 'x-ai-router-route': route, 'x-ai-router-score': score } = request.headers;
      if (request.url !== '/readyz') seen.push([request.url, body, route || undefined, Number(score) > 0]);
      response.end();
    });
  }, onTestFinished);
  return Number(new URL(url).port);
}

describe.skipIf(!hasNginx)('nginx', () => {
  it('adds the decision to a request, and takes away what the client itself sent', async () => {
    const seen: unknown[] = [];
    const url = await start(NGINX, await keeping(seen));
    await fetch(`${url}/search?q=I%20am%20hungry`);
    await fetch(`${url}/search`, { headers: FORGED });
    expect(seen).toEqual([
      ['/search?q=I%20am%20hungry', '', 'food', true],
      ['/search', '', undefined, false],
    ]);
  });
});

const CHAT = JSON.stringify({ model: 'auto', messages: [{ role: 'user', content: 'I am hungry' }] });

/** Sends a request with a Host as clients have it; fetch would set its own. Returns the status. */
async function post(
  url: string,
  path: string,
  body: string,
  headers: OutgoingHttpHeaders = {},
): Promise<number | undefined> {
  const sent = request(url + path, {
    method: 'POST',
    headers: { host: 'other.example.com', 'content-type': 'application/json', ...headers },
  });
  sent.end(body);
  const [answer] = (await once(sent, 'response')) as [IncomingMessage];
  answer.resume();
  return answer.statusCode;
}

/** Sends a chat request through a proxy, and one without a text. */
async function decided(proxy: Proxy, headers: OutgoingHttpHeaders = {}): Promise<void> {
  const seen: unknown[] = [];
  const url = await start(proxy, await keeping(seen));
  const own = { ...FORGED, authorization: 'Bearer of-the-client', ...headers };
  expect(await post(url, '/v1/chat/completions', CHAT, own)).toBe(200);
  expect(await post(url, '/v1/models', '', own)).toBe(200);
  expect(seen).toEqual([
    ['/v1/chat/completions', CHAT, 'food', true],
    ['/v1/models', '', undefined, false],
  ]);
}

describe.skipIf(!hasEnvoy)('Envoy', () => {
  it('adds the decision of the body, and takes away what the client itself sent', () =>
    decided(ENVOY_PROXY, { host: ENVOY_HOST }));
});

describe.skipIf(!hasTraefik)('Traefik', () => {
  it('adds the decision of the body, and takes away what the client itself sent', () =>
    decided(TRAEFIK_PROXY));
});

it.each([
  ['apisix.yaml', ['write a python function', 'debug this code']],
  ['kong.yaml', 'programming, code and debugging'],
])('/v1/embeddings answers as %s asks', async (recipe, input) => {
  const text = await readFile(`deploy/gateways/${recipe}`, 'utf8');
  const [, port] = /http:\/\/127\.0\.0\.1:(\d+)\/v1\/embeddings/.exec(text) ?? [];
  const [, model] = /(?:model|name): (all-MiniLM-L6-v2)/.exec(text) ?? [];
  expect(port).toBe('3001');
  const answer = await fetch(`${daemons[0]?.url}/v1/embeddings`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: 'Bearer unused' },
    body: JSON.stringify({ model, input }),
  });
  expect(answer.status).toBe(200);
  const { data } = (await answer.json()) as { data: { index: number; embedding: number[] }[] };
  expect(data.map(({ index, embedding }) => [index, embedding.length])).toEqual(
    [input].flat().map((_, index) => [index, 384]),
  );
});

describe.skipIf(!hasNginx || !hasHaproxy)('a replica that ends behind a proxy costs no request', () => {
  it('haproxy', () => withoutLoss(HAPROXY), 120_000);
  it('nginx', () => withoutLoss(NGINX), 120_000);
});

/** Ends one of two replicas while requests go through a proxy. */
async function withoutLoss(proxy: Proxy): Promise<void> {
  const url = await start(proxy);
  const spare = daemons.pop();
  let ended: Promise<unknown> | undefined;
  let over = false;
  const statuses: (number | undefined)[] = [];
  for (let sent = 0; !over || sent < 50; sent += 1) {
    statuses.push(await post(url, '/classify', JSON.stringify({ text: `hungry ${sent}` })));
    if (sent === 20) {
      ended = spare?.stop().then(() => {
        over = true;
      });
    }
  }
  await ended;
  expect(statuses.filter((status) => status !== 200)).toEqual([]);
}
