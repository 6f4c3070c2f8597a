import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Row } from '../../campaign/row.js';
import { check, type Trial } from '../../campaign/trial.js';
import type { Fault } from '../../test/support/origin.js';
import { tar } from '../../test/support/tar.js';
import { serve } from '../crash-scene.js';
import { SIZE, Supply } from '../supply.js';
import { wholesome } from '../watch.js';

/** The hub meets the fault once; the same hub then delivers the rest. */
async function recovers(trial: Trial, what: string, fault: Fault, most = 1.05): Promise<void> {
  await trial.attempt(`${what}, once`, async () => {
    const supply = await Supply.make(trial);
    supply.hub.fault(supply.path, fault);
    const { report, ms } = await supply.pull('hub');
    check(report.whole, () => `not whole: ${JSON.stringify(report.failures)}`);
    check(report.bytes_received <= (SIZE + 6_000) * most, `${report.bytes_received} bytes were received`);
    trial.healed(ms);
  });
}

/** The hub never does better; its failure has a name, and the mirror delivers. */
async function replaced(trial: Trial, what: string, fault: Fault, code: string): Promise<void> {
  await trial.attempt(`${what}, always; then a good mirror`, async () => {
    const supply = await Supply.make(trial);
    supply.hub.faultAlways(supply.path, fault);
    const { report, ms } = await supply.pull('hub,mirror');
    check(report.whole, () => `not whole: ${JSON.stringify(report.failures)}`);
    const failure = report.failures.find(({ path }) => path === 'onnx/model.onnx');
    check(failure?.code === code, `named ${failure?.code}, not ${code}: ${failure?.message}`);
    trial.healed(ms);
  });
}

async function stall(trial: Trial): Promise<void> {
  // The idle timeout is 20 s; a body without end cannot be told from a slow one any sooner.
  await recovers(trial, 'silence in the middle of the body', { kind: 'stall', afterBytes: 150_000 });
  if (!trial.short) await recovers(trial, 'silence before the headers', { kind: 'stall' });
}

async function drip(trial: Trial): Promise<void> {
  await recovers(trial, '1 byte per second', { kind: 'drip', bytesPerSecond: 1 });
}

async function cut(trial: Trial): Promise<void> {
  const framings = trial.short ? (['length'] as const) : (['length', 'chunked', 'close'] as const);
  for (const framing of framings) {
    await recovers(trial, `cut, framed by ${framing}`, { kind: 'cut', afterBytes: 150_000, framing });
    if (!trial.short)
      await recovers(
        trial,
        `reset, framed by ${framing}`,
        { kind: 'cut', afterBytes: 150_000, framing, reset: true },
        2.1,
      );
  }
}

async function wrongBytes(trial: Trial): Promise<void> {
  const content = trial.random.bytes(SIZE);
  await replaced(trial, 'wrong bytes of the right size', { kind: 'replace', content }, 'source_wrong_bytes');
  await replaced(trial, 'LFS pointer', { kind: 'lfs-pointer' }, 'source_wrong_bytes');
  await replaced(trial, 'a web page with 200', { kind: 'html' }, 'source_wrong_bytes');
}

async function rangeIgnored(trial: Trial): Promise<void> {
  await trial.attempt('cut, then the range is ignored', async () => {
    const supply = await Supply.make(trial);
    supply.hub.fault(supply.path, { kind: 'cut', afterBytes: 150_000 }, { kind: 'ignore-range' });
    const { report, ms } = await supply.pull('hub');
    check(report.whole, () => `not whole: ${JSON.stringify(report.failures)}`);
    check(supply.hub.requestsTo(supply.path)[1]?.headers.range !== undefined, 'no range was asked for');
    trial.healed(ms);
  });
}

async function tooMuch(trial: Trial): Promise<void> {
  const framings = ['chunked', 'close'] as const;
  for (const framing of framings) {
    await trial.attempt(`a body without end, framed by ${framing}`, async () => {
      const supply = await Supply.make(trial);
      supply.hub.faultAlways(supply.path, { kind: 'endless', framing });
      const { report } = await supply.pull('hub,mirror');
      check(report.whole, 'not whole');
      check(report.failures[0]?.code === 'source_too_large', `named ${report.failures[0]?.code}`);
      check(supply.hub.bytesSent < 40_000_000, `${supply.hub.bytesSent} bytes were sent before it hung up`);
    });
  }
  await trial.attempt('an archive that unpacks to 1 GB', async () => {
    const supply = await Supply.make(trial);
    const bomb = gzipSync(Buffer.alloc(700 * 2 ** 20), { level: 1 });
    supply.hub.put('/bomb.tar.gz', bomb);
    const mirrors = `${supply.hub.url}/bomb.tar.gz,${supply.mirror.url}`;
    const { report, ms } = await supply.pull('mirror', { MODEL_MIRRORS: mirrors });
    check(report.whole, () => `not whole: ${JSON.stringify(report.failures)}`);
    check(ms < 30_000, `took ${Math.round(ms)} ms`);
  });
}

async function busy(trial: Trial): Promise<void> {
  const statuses = trial.short ? [503] : [429, 500, 502, 503];
  for (const status of statuses) {
    await recovers(trial, `status ${status} with Retry-After: 1`, {
      kind: 'status',
      status,
      retryAfter: '1',
    });
  }
  if (!trial.short) {
    await replaced(
      trial,
      '503 with Retry-After: 3600',
      { kind: 'status', status: 503, retryAfter: '3600' },
      'source_unreachable',
    );
    await replaced(
      trial,
      '429 with Retry-After: 3600',
      { kind: 'status', status: 429, retryAfter: '3600' },
      'source_rate_limited',
    );
  }
}

async function refused(trial: Trial): Promise<void> {
  for (const [status, code] of [
    [401, 'source_unauthorized'],
    [403, 'source_unauthorized'],
    [404, 'source_not_found'],
  ] as const) {
    await replaced(trial, `status ${status}`, { kind: 'status', status }, code);
  }
}

async function redirects(trial: Trial): Promise<void> {
  await trial.attempt('a redirect to itself', async () => {
    const supply = await Supply.make(trial);
    supply.hub.faultAlways(supply.path, { kind: 'redirect', location: supply.path });
    const { report } = await supply.pull('hub,mirror');
    check(report.whole && report.failures[0]?.code === 'source_refused', `named ${report.failures[0]?.code}`);
    check(supply.hub.requestsTo(supply.path).length <= 6, 'more than 5 hops');
  });
  await trial.attempt('a redirect to another host: the token stays at home', async () => {
    const supply = await Supply.make(trial);
    const elsewhere = await trial.sandbox.origin({ host: '127.0.0.2' });
    serve(elsewhere, supply.model);
    supply.hub.faultAlways(supply.path, { kind: 'redirect', location: `${elsewhere.url}${supply.path}` });
    const { report } = await supply.pull('hub,mirror', { HF_TOKEN: 'hf_secret_of_the_campaign' });
    check(report.whole, 'not whole');
    check(
      supply.hub.requests.every(({ headers }) => headers.authorization !== undefined),
      'no token for the hub',
    );
    check(
      elsewhere.requests.every(({ headers }) => headers.authorization === undefined),
      'the token crossed hosts',
    );
  });
  await trial.attempt('a redirect to a file and to another scheme', async () => {
    const supply = await Supply.make(trial);
    supply.hub.fault(supply.path, { kind: 'redirect', location: 'file:///etc/passwd' });
    const { report } = await supply.pull('hub,mirror');
    check(report.whole && report.failures[0]?.code === 'source_refused', `named ${report.failures[0]?.code}`);
  });
}

async function offline(trial: Trial): Promise<void> {
  await trial.attempt('a warm boot makes no request', async () => {
    const origin = await trial.sandbox.origin();
    const env = {
      MODEL_CACHE_DIR: await trial.sandbox.filledVolume(),
      MODEL_SOURCES: 'mirror,hub',
      MODEL_MIRRORS: origin.url,
      HF_ENDPOINT: origin.url,
      HF_HUB_OFFLINE: 'false',
    };
    const daemon = await trial.sandbox.daemon(env);
    await daemon.ready(60_000);
    check(origin.requests.length === 0, `${origin.requests.length} requests`);
    await daemon.stop();
  });
  await trial.attempt('every source down, then one is back', async () => {
    const { readFile } = await import('node:fs/promises');
    const { loadManifest } = await import('../../src/cache/manifest.js');
    const { builtInManifest } = await import('../../src/config/program-files.js');
    const origin = await trial.sandbox.origin();
    const { repo, revision, files } = await loadManifest(builtInManifest('q8'));
    for (const { path } of files)
      origin.put(`/${repo}/resolve/${revision}/${path}`, await readFile(join('model', path)));
    origin.faultAlways('*', { kind: 'status', status: 404 });
    const volume = join(await trial.sandbox.folder(), 'volume');
    const env = {
      MODEL_CACHE_DIR: volume,
      MODEL_SOURCES: 'hub',
      HF_ENDPOINT: origin.url,
      HF_HUB_OFFLINE: 'false',
    };
    const daemon = await trial.sandbox.daemon(env);
    await new Promise((resolve) => setTimeout(resolve, trial.short ? 1_500 : 5_000));
    const { body } = await daemon.get<{ checks: { cache: { code?: string } } }>('/health');
    check(body.checks.cache.code === 'sources_exhausted', `named ${body.checks.cache.code}`);
    check(origin.requests.length < 60, `${origin.requests.length} requests in a few seconds`);
    origin.heal();
    const since = performance.now();
    await wholesome(daemon, 60_000);
    trial.healed(performance.now() - since);
    await daemon.ready(60_000);
  });
}

async function archives(trial: Trial): Promise<void> {
  await trial.attempt('an archive of traps with the pinned files among them', async () => {
    const supply = await Supply.make(trial);
    const hostile = tar([
      { path: '../escaped', content: Buffer.from('x') },
      { path: '/tmp/ai-router-faults-escaped', content: Buffer.from('x') },
      { path: 'onnx', type: '2', link: '/etc' },
      { path: 'onnx/model.onnx', type: '1', link: '/etc/passwd' },
      { path: 'device', type: '3' },
      { path: 'tokenizer.json', content: Buffer.from('not the pinned one') },
      ...[...supply.model.files].map(([path, content]) => ({ path, content })),
      ...[...supply.model.files].map(([path, content]) => ({ path, content })),
    ]);
    supply.hub.put('/model.tar.gz', gzipSync(hostile));
    const mirrors = `${supply.hub.url}/model.tar.gz,${supply.mirror.url}`;
    const { report } = await supply.pull('mirror', { MODEL_MIRRORS: mirrors });
    check(report.whole, () => `not whole: ${JSON.stringify(report.failures)}`);
    const { existsSync } = await import('node:fs');
    check(!existsSync('/tmp/ai-router-faults-escaped') && !existsSync('/tmp/escaped'), 'something escaped');
  });
  await trial.attempt('an archive cut in the middle, then a good mirror', async () => {
    const supply = await Supply.make(trial);
    const whole = gzipSync(tar([...supply.model.files].map(([path, content]) => ({ path, content }))));
    supply.hub.put('/model.tar.gz', whole.subarray(0, whole.length / 2));
    const mirrors = `${supply.hub.url}/model.tar.gz,${supply.mirror.url}`;
    const { report } = await supply.pull('mirror', { MODEL_MIRRORS: mirrors });
    check(report.whole, () => `not whole: ${JSON.stringify(report.failures)}`);
  });
}

export const SOURCE: readonly Row[] = [
  { number: 18, fault: 'stall', run: stall },
  { number: 19, fault: 'slow drip', run: drip },
  { number: 20, fault: 'cut', run: cut },
  { number: 21, fault: 'wrong bytes, LFS pointer, HTML with 200', run: wrongBytes },
  { number: 22, fault: 'Range ignored', run: rangeIgnored },
  { number: 23, fault: 'endless body, gzip bomb', run: tooMuch },
  { number: 24, fault: '429, 5xx', run: busy },
  { number: 25, fault: '401, 403, 404', run: refused },
  { number: 26, fault: 'redirects', run: redirects },
  { number: 27, fault: 'offline', run: offline },
  { number: 28, fault: 'hostile archives', run: archives },
];
