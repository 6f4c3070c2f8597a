import { readFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { AxeResults } from 'axe-core';
import type { Browser, Page } from 'playwright-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { findChromium, launchChromium } from '../support/browser.js';
import { startDaemon, type TestDaemon } from '../support/daemon.js';
import { type Hub, startHub } from '../support/hub-origin.js';
import { suiteEnd } from '../support/suite.js';
import { temporaryFolder } from '../support/volume.js';

const atEnd = suiteEnd();

const KEY = 'an-admin-key-of-good-length';
const ROUTES = `routes:
  - name: food
    description: "<b>bold</b> <img src=x onerror=alert(1)>"
    utterances: [order a pizza, I am hungry, bring me a burger]
    score_threshold: 0.4
    metadata: { model: small }
  - name: sleep
    utterances: [good night, I am tired, wake me at seven]
`;
const WEIGHTS = 'onnx/model_quantized.onnx';
/** The download stands still here until a test lets it go on. */
const STALLED_AT = 8_000_000;

const chromium = findChromium();
if (!chromium) {
  process.stderr.write(
    '\n*** NO CHROMIUM: the page is NOT tested in a browser. `apt-get install chromium`, or set CHROMIUM. ***\n\n',
  );
}

let daemon: TestDaemon;
let hub: Hub;

beforeAll(async () => {
  const folder = await temporaryFolder(atEnd);
  await writeFile(join(folder, 'routes.yaml'), ROUTES);
  const { revision, files } = JSON.parse(await readFile('model/manifest.json', 'utf8')) as {
    revision: string;
    files: { path: string }[];
  };
  const contents = files.map(async ({ path }) => [path, await readFile(join('model', path))] as const);
  hub = await startHub({ revision, files: Object.fromEntries(await Promise.all(contents)) });
  atEnd(() => hub.close());
  hub.cdn.fault(hub.cdnPathOf(WEIGHTS), { kind: 'stall', afterBytes: STALLED_AT });
  daemon = await startDaemon(
    {
      MODEL_CACHE_DIR: join(folder, 'volume'),
      ROUTES_FILE: join(folder, 'routes.yaml'),
      MODEL_SOURCES: 'hub',
      HF_ENDPOINT: hub.endpoint.url,
      ADMIN_KEYS: KEY,
      INFERENCE_WORKERS: '1',
    },
    { atEnd },
  );
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

describe.skipIf(!chromium)('the page in a browser', { timeout: 60_000 }, () => {
  let browser: Browser;
  let page: Page;
  /** What a browser complains about, and requests that left the daemon. */
  const complaints: string[] = [];
  let transferred = 0;

  const watch = (watched: Page, origin = daemon.url): void => {
    watched.on('pageerror', (error) => complaints.push(error.message));
    watched.on('console', (message) => {
      // A status that a test provokes is no fault of the page.
      const provoked = /Failed to load resource: the server responded with a status of (401|403|412|422|503)/;
      if (message.type() === 'error' && !provoked.test(message.text())) complaints.push(message.text());
    });
    watched.on('request', (request) => {
      if (!request.url().startsWith(`${origin}/`)) complaints.push(`asked ${request.url()}`);
    });
  };
  const textOf = (selector: string): Promise<string> =>
    page
      .locator(selector)
      .textContent()
      .then((text) => text ?? '');
  const focused = (): Promise<unknown> => page.evaluate('document.activeElement.id');
  const inView = (selector: string): Promise<unknown> =>
    page.evaluate(
      `(({ top, bottom }) => top >= 0 && bottom <= innerHeight)(document.querySelector('${selector}').getBoundingClientRect())`,
    );
  const see = (selector: string, hasText?: string | RegExp): Promise<void> =>
    page
      .locator(selector, hasText === undefined ? {} : { hasText })
      .first()
      .waitFor();

  beforeAll(async () => {
    browser = await launchChromium(chromium ?? '');
    atEnd(() => browser.close());
    page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
    page.setDefaultTimeout(50_000);
    watch(page);
    page.on('response', async (response) => {
      if (/\/(page\/[^/]+)?$/.test(new URL(response.url()).pathname)) {
        transferred += (await response.request().sizes()).responseBodySize;
      }
    });
  });

  it('is there before the model is, with the download’s progress', async () => {
    await page.goto(`${daemon.url}/`);
    await see('#state[data-state="starting"]');
    await see('#notice-title', 'Downloading the model');
    await see('#notice-bar[aria-valuenow]:not([aria-valuenow="0"])');
    await see('#files li', /onnx.*being fetched/s);
    await page.fill('#text', 'a pizza');
    await page.keyboard.press('Enter');
    await see('#result', 'No answer');
    hub.cdn.disconnect();
    await see('#state[data-state="ready"]');
    expect(await page.locator('#notice').isVisible()).toBe(false);
    expect(transferred).toBeGreaterThan(0);
    expect(transferred).toBeLessThan(60_000);
  });

  it('shows what is served and the whole cache, and text as text', async () => {
    await see('#serving-facts', '2 routes, 6 utterances');
    await see('#serving-facts', 'Xenova/all-MiniLM-L6-v2 · q8');
    expect(await page.locator('#files .tag[data-tone="ok"]').count()).toBe(5);
    expect(await textOf('#timeline')).toMatch(/Last verified .*Next in /s);
    await see('#events li', /downloaded/);
    expect(await textOf('#route-list')).toContain('<b>bold</b> <img src=x onerror=alert(1)>');
    expect(await page.locator('#route-list img, #route-list b').count()).toBe(0);
  });

  it('classifies with the keyboard alone, and draws candidates against their thresholds', async () => {
    await page.reload();
    await see('#examples button');
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await page.keyboard.type('bring me a pizza please');
    await page.keyboard.press('Enter');
    await see('.verdict[data-route="food"]');
    expect(await page.locator('.candidates > li').count()).toBe(2);
    expect(await page.locator('.candidates .track b').first().getAttribute('style')).toContain('--at: 0.4');
    expect(await textOf('.nearest >> nth=0')).toContain('order a pizza');
    expect(await textOf('#result')).toMatch(/tokens · .* in the daemon/);
  });

  it('says plainly that a text is sent nowhere, and what of it was cut', async () => {
    await page.fill('#threshold', '1');
    await page.fill('#text', 'zxcv qwer '.repeat(120));
    await page.press('#text', 'Enter');
    await see('.verdict[data-route=""]', 'Sent nowhere');
    expect(await textOf('#result')).toContain('“zxcv qwer');
    expect(await textOf('#result')).toMatch(/No route reached its threshold.*needs 100 %/s);
    expect(await textOf('#cut')).toMatch(
      /Only the first 256 tokens were read: \d+ tokens at the end were cut/,
    );
  });

  it('asks for a key where classifying wants one, and goes on with it', async () => {
    await page.fill('#threshold', '');
    await page.fill('#text', 'what a long day, good night');
    const body = JSON.stringify({
      title: 'Unauthorized',
      status: 401,
      code: 'unauthorized',
      detail: 'send a key',
    });
    const refuse = { status: 401, contentType: 'application/problem+json', body };
    await page.route('**/classify', (route) => route.fulfill(refuse), { times: 1 });
    await page.press('#text', 'Enter');
    await see('#key-title', 'This daemon wants a key');
    await page.fill('#key-input', 'a-key-for-callers');
    const asked = page.waitForRequest(/classify$/);
    await page.keyboard.press('Enter');
    expect(await (await asked).headerValue('authorization')).toBe('Bearer a-key-for-callers');
    await see('.verdict[data-route="sleep"]');
    await page.click('#forget');
    expect(await page.evaluate('sessionStorage.length + localStorage.length')).toBe(0);
  });

  it('verifies for whoever has a key, and says that another one is refused', async () => {
    await page.click('#verify');
    await page.fill('#key-input', 'not-the-right-key');
    await page.keyboard.press('Enter');
    await see('#key-refused', 'refused');
    await page.fill('#key-input', KEY);
    await page.keyboard.press('Enter');
    await see('#verify-result', /^Verified in .*: whole\.$/);
  });

  it('lints a route while it is typed, and never writes over another editor’s change unseen', async () => {
    await page.click('button[aria-label="Edit food"]');
    await see('#lint-summary', /this route/);
    await page.press('#edit-utterances', 'Control+End');
    await page.keyboard.type('\ngood night');
    await see(
      '#lint-findings li:first-child[data-tone="bad"]',
      /new error: “good night” is also .* of sleep/,
    );
    // Save stays in sight, and asks.
    expect(await inView('#edit-save')).toBe(true);
    await page.click('#edit-save');
    await see('#editor-said', /contradicts itself: 1 error/);
    expect(await textOf('#edit-save')).toBe('Save anyway');
    await page.press('#edit-utterances', 'Control+End');
    await page.keyboard.type(' pizza delivery');
    expect(await textOf('#edit-save')).toBe('Save');
    const metadata = await page.inputValue('#edit-metadata');
    await page.fill('#edit-metadata', '[1]');
    await page.click('#edit-save');
    await see('#edit-metadata[aria-invalid="true"]');
    await see('#edit-metadata-fault', /must be a JSON object/);
    expect(await focused()).toBe('edit-metadata');
    await page.fill('#edit-metadata', metadata);
    // Meanwhile somebody else adds a route.
    const { etag } = Object.fromEntries((await daemon.get('/routes')).headers);
    const added = await fetch(`${daemon.url}/routes/drink`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${KEY}`, 'if-match': etag ?? '', 'content-type': 'application/json' },
      body: JSON.stringify({ utterances: ['a glass of water', 'brew me a coffee', 'I am thirsty'] }),
    });
    expect(added.status).toBe(201);
    await page.click('#edit-save');
    await see('#editor-said', /Another client changed the routes.*Your text is kept/);
    await page.click('#edit-save');
    await see('#routes-said', 'food is saved and serves.');
    expect(await page.evaluate('document.activeElement.getAttribute("aria-label")')).toBe('Edit food');
    const { body } = await daemon.get<{ utterances: string[]; metadata: object }>('/routes/food');
    expect(body.utterances).toContain('good night pizza delivery');
    expect(body.metadata).toEqual({ model: 'small' });
    await see('#serving-facts', '3 routes, 10 utterances');
  });

  it('draws the traffic', async () => {
    await see('#traffic-totals', /3 decisions since the start, 33 % sent nowhere, 1 cut/);
    expect(await page.locator('#traffic-tiles polyline').count()).toBeGreaterThan(1);
  });

  it('goes back to an earlier version', async () => {
    await page.click('#routes-history');
    await page.click('#history-list > li:first-child summary');
    await see('.changes', /food: 1 utterance added: “good night pizza delivery”/);
    await page.click('button[aria-label="Go back to version 1"]');
    await see('#history-said', 'Version 1 serves again.');
    // Also where the source is the file again.
    await see('#history-list > li:first-child .tag', 'served');
    expect(await page.locator('.versions .tag', { hasText: /^served$/ }).count()).toBe(1);
    await page.click('#history-close');
    await see('#serving-facts', '2 routes, 6 utterances');
  });

  it('marks a threshold out of range, and moves the focus there', async () => {
    await page.fill('#threshold', '7');
    await page.press('#text', 'Enter');
    await see('#threshold[aria-invalid="true"]');
    expect(await textOf('#result')).toBe('');
    expect(await focused()).toBe('threshold');
    await page.fill('#threshold', '');
  });

  it('says that a key is wanted in place of empty cards, and what an operator lacks', async () => {
    const keyed = await startDaemon(
      {
        MODEL_CACHE_DIR: await temporaryFolder(atEnd),
        API_KEYS: 'a-key-for-callers-of-length',
        INFERENCE_WORKERS: '1',
      },
      { atEnd },
    );
    const other = await browser.newPage({ viewport: { width: 390, height: 844 } });
    other.setDefaultTimeout(50_000);
    watch(other, keyed.url);
    await other.goto(`${keyed.url}/`);
    await other.locator('#locked').waitFor();
    expect(await other.locator('main section:visible h2').allTextContents()).toEqual([
      'This daemon wants a key',
    ]);
    await other.focus('#unlock');
    await other.keyboard.press('Enter');
    await other.keyboard.type('a-key-for-callers-of-length');
    await other.keyboard.press('Enter');
    await other.locator('#serving-facts', { hasText: '16 routes' }).waitFor();
    expect(await other.evaluate('document.activeElement.id')).toBe('text');
    // Folded on a phone, whose width nothing exceeds.
    expect(await other.locator('#routes-fold').getAttribute('open')).toBeNull();
    expect(await other.evaluate('document.documentElement.scrollWidth')).toBe(390);
    await other.click('#routes-edit');
    await other.locator('#routes-said', { hasText: 'This daemon has no ADMIN_KEYS' }).waitFor();
    await other.close();
  });

  it('is accessible in both themes, and fits a narrow screen', async () => {
    const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
    await page.evaluate(axe);
    const violations = async (): Promise<string[]> => {
      const found = (await page.evaluate('axe.run(document, { resultTypes: ["violations"] })')) as AxeResults;
      return found.violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html}`));
    };
    const overflow = 'document.documentElement.scrollWidth - document.documentElement.clientWidth';
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width: colorScheme === 'light' ? 1280 : 360, height: 900 });
      expect(await violations()).toEqual([]);
      expect(await page.evaluate(overflow)).toBe(0);
      await page.click('button[aria-label="Edit food"]');
      await see('#lint-summary', /this route/);
      expect(await violations()).toEqual([]);
      expect(
        await page.evaluate(
          'document.querySelector("#editor").scrollWidth - document.querySelector("#editor").clientWidth',
        ),
      ).toBe(0);
      await page.click('#edit-cancel');
    }
  });

  it('asks for nothing while nobody sees it', async () => {
    const other = await browser.newPage();
    watch(other);
    await other.clock.install();
    await other.goto(`${daemon.url}/`);
    await other.locator('#state[data-state="ready"]').waitFor();
    const hide = (hidden: boolean): Promise<unknown> =>
      other.evaluate(
        `Object.defineProperty(document, 'hidden', { value: ${hidden}, configurable: true });
         document.dispatchEvent(new Event('visibilitychange'))`,
      );
    await other.waitForLoadState('networkidle');
    await hide(true);
    let asked = 0;
    other.on('request', () => {
      asked += 1;
    });
    await other.clock.runFor(60_000);
    expect(asked).toBe(0);
    const back = other.waitForRequest(/\/health$/);
    await hide(false);
    await back;
    await other.close();
  });

  it('never complained, broke its policy or asked another host', () => {
    expect(complaints).toEqual([]);
  });
});
