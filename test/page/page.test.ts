import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { TestDaemon } from '../support/daemon.js';
import { type Hub, startHub } from '../support/hub-origin.js';
import { atEnd, HAS_CHROMIUM, startOwn, useBrowser } from './reader.js';

const WEIGHTS = 'onnx/model_quantized.onnx';
/** The download stands still here until a test lets it go on. */
const STALLED_AT = 8_000_000;

/** Serves all tests that change nothing of it. */
let daemon: TestDaemon;

/** A hub whose download stands still until it is let go. */
async function startStalledHub(): Promise<Hub> {
  const { revision, files } = JSON.parse(await readFile('model/manifest.json', 'utf8')) as {
    revision: string;
    files: { path: string }[];
  };
  const contents = files.map(async ({ path }) => [path, await readFile(join('model', path))] as const);
  const hub = await startHub({ revision, files: Object.fromEntries(await Promise.all(contents)) });
  atEnd(() => hub.close());
  hub.cdn.fault(hub.cdnPathOf(WEIGHTS), { kind: 'stall', afterBytes: STALLED_AT });
  return hub;
}

beforeAll(async () => {
  daemon = await startOwn();
});

describe('the page over HTTP', () => {
  it('is small, and asked for again it is not sent again', async () => {
    const html = await fetch(`${daemon.url}/`);
    expect(html.headers.get('content-type')).toBe('text/html; charset=utf-8');
    expect(html.headers.get('content-security-policy')).toMatch(/^default-src 'none';.* script-src 'self';/);
    const text = await html.text();
    expect(text).not.toMatch(/<style|style=|<script>|onclick|https?:/);
    const again = await fetch(`${daemon.url}/`, {
      // Without the second one fetch asks every cache on the way to send all of it anew.
      headers: { 'if-none-match': html.headers.get('etag') ?? '', 'cache-control': 'max-age=0' },
    });
    expect(again.status).toBe(304);
    expect(await again.text()).toBe('');
  });

  it.each(['/page/none.js', '/page/package.json', '/page/..%2Fmain.js', '/page/wire.d.ts', '/page/'])(
    '%s is not there',
    async (path) => {
      expect(await daemon.get(path)).toMatchObject({ status: 404, body: { code: 'not_found' } });
    },
  );
});

describe.skipIf(!HAS_CHROMIUM)('the page in a browser', { timeout: 60_000 }, () => {
  const { open, openReady } = useBrowser();

  it('is there before the model is, with the download’s progress', async () => {
    const hub = await startStalledHub();
    const starting = await startOwn({ MODEL_SOURCES: 'hub', HF_ENDPOINT: hub.endpoint.url });
    const reader = await open(starting);
    const { page } = reader;
    await reader.see('#state[data-state="starting"]');
    await reader.see('#notice-title', 'Downloading the model');
    await reader.see('#notice-bar[aria-valuenow]:not([aria-valuenow="0"])');
    await reader.see('#files li', /onnx.*being fetched/s);
    await page.fill('#text', 'a pizza');
    await page.keyboard.press('Enter');
    await reader.see('#result', 'No answer');
    expect(await reader.violations()).toEqual([]);
    hub.cdn.disconnect();
    await reader.see('#state[data-state="ready"]');
    expect(await page.locator('#notice').isVisible()).toBe(false);
  });

  it('is small', async () => {
    let transferred = 0;
    const reader = await open(daemon);
    reader.page.on('response', async (response) => {
      if (/\/(page\/[^/]+)?$/.test(new URL(response.url()).pathname))
        transferred += (await response.request().sizes()).responseBodySize;
    });
    await reader.page.reload({ waitUntil: 'networkidle' });
    await reader.see('#examples button');
    expect(transferred).toBeLessThan(60_000);
  });

  it('shows what is served and the whole cache, and text as text', async () => {
    const reader = await openReady(daemon);
    await reader.see('#serving-facts', '2 routes, 6 utterances');
    await reader.see('#serving-facts', 'Xenova/all-MiniLM-L6-v2 · q8');
    expect(await reader.page.locator('#files .tag[data-tone="ok"]').count()).toBe(5);
    expect(await reader.textOf('#timeline')).toMatch(/Last verified .*Next in /s);
    await reader.see('#events li', /copied/);
    expect(await reader.textOf('#route-list')).toContain('<b>bold</b> <img src=x onerror=alert(1)>');
    expect(await reader.page.locator('#route-list img, #route-list b').count()).toBe(0);
  });

  it('shows the default threshold before anything was decided', async () => {
    const reader = await openReady(daemon);
    const { default_threshold: threshold } = (await daemon.get<{ default_threshold: number }>('/routes'))
      .body;
    expect(threshold).toBeGreaterThan(0);
    const shown = await reader.page.getAttribute('#threshold', 'placeholder');
    expect(shown).toMatch(/^0\.\d{2,4} \(default\)$/);
    expect(Number.parseFloat(shown ?? '')).toBeCloseTo(threshold, 4);
  });

  it('classifies with the keyboard alone, and shows candidates against their thresholds', async () => {
    const reader = await openReady(daemon);
    const { page } = reader;
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await page.keyboard.type('bring me a pizza please');
    await page.keyboard.press('Enter');
    await reader.see('.verdict[data-route="food"]');
    expect(await page.locator('.candidates > li').count()).toBe(2);
    expect(await page.locator('.candidates .track b').first().getAttribute('style')).toContain('--at: 0.4');
    expect(await reader.textOf('.nearest >> nth=0')).toContain('order a pizza');
    expect(await reader.textOf('#result')).toMatch(/tokens · .* in the daemon/);
    await page.keyboard.press('Enter');
    await reader.see('#result', /tokens · .* in the daemon · embedded before/);
    expect(await reader.violations()).toEqual([]);
  });

  it('says plainly that a text is sent nowhere, and what of it was cut', async () => {
    const reader = await openReady(daemon);
    await reader.page.fill('#threshold', '1');
    await reader.page.fill('#text', 'привет мир '.repeat(120));
    await reader.page.press('#text', 'Enter');
    await reader.see('.verdict[data-route=""]', 'Sent nowhere');
    expect(await reader.textOf('#result')).toContain('“привет мир');
    expect(await reader.textOf('#result')).toMatch(/No route reached its threshold.*needs 100 %/s);
    expect(await reader.textOf('#illegible')).toContain('The model can hardly read this text');
    expect(await reader.textOf('#cut')).toMatch(
      /Only the first 256 tokens were read: \d+ tokens at the end were cut/,
    );
  });

  it('never rounds a score up to a threshold that it misses', async () => {
    const reader = await openReady(daemon);
    const near = { route: 'food', score: 0.99896, similarity: 0.5, threshold: 0.999, nearest: [] };
    const usage = { tokens: 4, truncated_tokens: 0 };
    const json = { ...{ route: null, score: 0.99896, similarity: 0.5, candidates: [near], usage } };
    await reader.page.route('**/classify', (route) => route.fulfill({ json }), { times: 1 });
    await reader.page.fill('#text', 'almost a pizza');
    await reader.page.press('#text', 'Enter');
    await reader.see('#result', 'has 99.8 %, and needs 99.9 %');
    expect(await reader.textOf('.candidates .track b')).toBe('0.999');
  });

  it('shows the traffic', async () => {
    const own = await startOwn();
    const reader = await openReady(own);
    const { page } = reader;
    await reader.see('#traffic-totals', 'No text was decided yet');
    await page.fill('#threshold', '1');
    for (const [text, verdict] of [
      ['اكتب لي قصيدة '.repeat(120), ''],
      ['order a pizza', 'food'],
    ] as const) {
      if (verdict !== '') await page.fill('#threshold', '');
      await page.fill('#text', text);
      await page.press('#text', 'Enter');
      await reader.see(`.verdict[data-route="${verdict}"]`);
    }
    await reader.see('#traffic-totals', /2 decisions since the start, 50 % sent nowhere, 1 cut/);
    await reader.see('#traffic-tiles polyline >> nth=1');
  });

  it('marks a threshold out of range, and moves the focus there', async () => {
    const reader = await openReady(daemon);
    await reader.page.fill('#threshold', '7');
    await reader.page.press('#text', 'Enter');
    await reader.see('#threshold[aria-invalid="true"]');
    expect(await reader.textOf('#result')).toBe('');
    await reader.page.fill('#text', 'a pizza');
    await reader.page.press('#text', 'Enter');
    expect(await reader.focused()).toBe('threshold');
  });

  it('says of a daemon that stands still that it does not answer', async () => {
    const own = await startOwn();
    const reader = await openReady(own);
    own.child.kill('SIGSTOP');
    await reader.see('#state[data-state="unreachable"]');
    await reader.see('#verify:disabled');
    await reader.see('#operator:disabled');
    own.child.kill('SIGCONT');
    await reader.see('#state[data-state="ready"]');
    await reader.see('#verify:enabled');
  });

  it.each(['light', 'dark'] as const)('is accessible and fits, %s', async (colorScheme) => {
    const reader = await openReady(daemon, { colorScheme });
    const { page } = reader;
    await reader.signIn();
    for (const width of [1280, 390, 360]) {
      await page.setViewportSize({ width, height: 900 });
      await page.evaluate('document.getElementById("routes-fold").open = true');
      expect(await reader.violations()).toEqual([]);
      expect(await reader.overflow('html')).toBe(0);
      await page.click('button[aria-label="Edit food"]');
      await reader.see('#lint-summary', /this route/);
      expect(await reader.violations()).toEqual([]);
      expect(await reader.overflow('#editor')).toBe(0);
      await page.click('#edit-cancel');
    }
  });

  it.each(['light', 'dark'] as const)('the reference begins with an example, %s', async (colorScheme) => {
    const reader = await open(daemon, { colorScheme, path: '/docs' });
    const { page } = reader;
    await reader.see('.opblock');
    await reader.see('.info pre, .description pre', /POST \/classify|curl/);
    // This daemon requires a key from operators alone.
    const locked = await page.locator('.opblock:has(.authorization__btn)').allTextContents();
    expect(locked.filter((text) => /^(GET|POST)\/(classify|embed|health|docs)/.test(text))).toEqual([]);
    expect(locked.length).toBeGreaterThan(0);
    for (const width of [1280, 390]) {
      await page.setViewportSize({ width, height: 900 });
      expect(await reader.violations()).toEqual([]);
      expect(await reader.overflow('html')).toBe(0);
    }
    await page.click('header a');
    await reader.see('#try-title');
  });

  it('asks for nothing while it is hidden', async () => {
    const { page } = await openReady(daemon);
    await page.clock.install();
    await page.reload();
    await page.locator('#state[data-state="ready"]').waitFor();
    const hide = (hidden: boolean): Promise<unknown> =>
      page.evaluate(
        `Object.defineProperty(document, 'hidden', { value: ${hidden}, configurable: true });
         document.dispatchEvent(new Event('visibilitychange'))`,
      );
    await page.waitForLoadState('networkidle');
    await hide(true);
    let asked = 0;
    page.on('request', () => {
      asked += 1;
    });
    await page.clock.runFor(60_000);
    expect(asked).toBe(0);
    const back = page.waitForRequest(/\/health$/);
    await hide(false);
    await back;
  });
});
