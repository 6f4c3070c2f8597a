import { beforeAll, describe, expect, it } from 'vitest';
import { startDaemon, type TestDaemon } from '../support/daemon.js';
import { atEnd, HAS_CHROMIUM, KEY, startOwn, useBrowser } from './reader.js';

/** Serves all tests that change nothing of it. */
let daemon: TestDaemon;

describe.skipIf(!HAS_CHROMIUM)('the page and keys', { timeout: 60_000 }, () => {
  beforeAll(async () => {
    daemon = await startOwn();
  });

  const { open, openReady } = useBrowser();

  it('asks for a key where classifying wants one, and goes on with it', async () => {
    const reader = await openReady(daemon);
    const { page } = reader;
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
    await reader.see('#key-title', 'This daemon requires a key');
    expect(await reader.violations()).toEqual([]);
    await page.fill('#key-input', 'a-key-for-callers');
    const asked = page.waitForRequest(/classify$/);
    await page.keyboard.press('Enter');
    expect(await (await asked).headerValue('authorization')).toBe('Bearer a-key-for-callers');
    await reader.see('.verdict[data-route="sleep"]');
    await page.click('#forget');
    expect(await page.evaluate('sessionStorage.length + localStorage.length')).toBe(0);
  });

  it('verifies with a key, and says that another one is refused', async () => {
    const reader = await openReady(daemon);
    const { page } = reader;
    await page.click('#verify');
    await page.fill('#key-input', 'not-the-right-key');
    await page.keyboard.press('Enter');
    await reader.see('#key-refused', 'refused');
    await page.fill('#key-input', KEY);
    await page.keyboard.press('Enter');
    await reader.see('#verify-result', /^Verified in .*: whole\.$/);
  });

  it('says that a key is wanted in place of empty cards, and what an operator lacks', async () => {
    const keyed = await startDaemon(
      {
        API_KEYS: 'a-key-for-callers-of-length',
        INFERENCE_WORKERS: '1',
      },
      { atEnd },
    );
    const reader = await open(keyed, { viewport: { width: 390, height: 844 } });
    const { page } = reader;
    await reader.see('#locked');
    expect(await page.locator('main section:visible h2').allTextContents()).toEqual([
      'This daemon requires a key',
    ]);
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      expect(await reader.violations()).toEqual([]);
    }
    await page.focus('#unlock');
    await page.keyboard.press('Enter');
    await page.keyboard.type('a-key-for-callers-of-length');
    await page.keyboard.press('Enter');
    await reader.see('#serving-facts', '16 routes');
    expect(await reader.focused()).toBe('text');
    // Folded on a phone, whose width nothing exceeds.
    expect(await page.locator('#routes-fold').getAttribute('open')).toBeNull();
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(390);
    await page.click('#routes-edit');
    await reader.see('#routes-said', 'This daemon has no ADMIN_KEYS');
  });

  it('takes an operator’s key at the banner, and asks for nothing that it may not have before', async () => {
    const keyed = await startOwn({ API_KEYS: 'a-key-for-callers-of-length' });
    const reader = await open(keyed);
    const { page } = reader;
    await reader.see('#locked');
    const asked: string[] = [];
    page.on('request', (request) => asked.push(new URL(request.url()).pathname));
    await page.waitForRequest(/\/health$/);
    await page.waitForRequest(/\/health$/);
    expect([...new Set(asked)]).toEqual(['/health']);
    expect(await page.locator('footer a:visible').allTextContents()).toEqual(['HTTP reference', '/health']);
    await page.click('#unlock');
    await page.fill('#key-input', KEY);
    await page.keyboard.press('Enter');
    await reader.see('#role', 'Caller');
    await page.click('#routes-edit');
    await reader.see('#role', 'Operator');
    await page.click('button[aria-label="Edit food"]');
    await page.click('#edit-save');
    await reader.see('#routes-said', 'food is saved and serves.');
  });
});
