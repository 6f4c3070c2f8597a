import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { eventually } from '../support/eventually.js';
import { temporaryFolder } from '../support/volume.js';
import { change, HAS_CHROMIUM, put, ROUTES, startOwn, useBrowser } from './reader.js';

describe.skipIf(!HAS_CHROMIUM)('the routes on the page', { timeout: 60_000 }, () => {
  const { openReady } = useBrowser();

  it('lints a route while it is typed, and never writes over another editor’s change unseen', async () => {
    const own = await startOwn();
    const reader = await openReady(own);
    const { page } = reader;
    await reader.signIn();
    await page.click('button[aria-label="Edit food"]');
    await reader.see('#lint-summary', /this route/);
    await page.press('#edit-utterances', 'Control+End');
    await page.keyboard.type('\ngood night');
    await reader.see(
      '#lint-findings li:first-child[data-tone="bad"]',
      /new error: “good night” is also .* of sleep/,
    );
    // Save stays in sight, and asks.
    expect(await reader.inView('#edit-save')).toBe(true);
    await page.click('#edit-save');
    await reader.see('#editor-said', /contradicts itself: 1 error/);
    expect(await reader.textOf('#edit-save')).toBe('Save anyway');
    await page.press('#edit-utterances', 'Control+End');
    await page.keyboard.type(' pizza delivery');
    expect(await reader.textOf('#edit-save')).toBe('Save');
    const metadata = await page.inputValue('#edit-metadata');
    await page.fill('#edit-metadata', '[1]');
    await page.fill('#edit-threshold', '7');
    await page.click('#edit-save');
    await reader.see('#edit-metadata[aria-invalid="true"]');
    await reader.see('#edit-metadata-fault', /must be a JSON object/);
    await reader.see('#edit-threshold-fault', /a number from 0 to 1/);
    expect(await reader.focused()).toBe('edit-threshold');
    await page.fill('#edit-metadata', metadata);
    await page.fill('#edit-threshold', '0.4');
    // Meanwhile another client adds a route.
    await put(own, 'drink', ['a glass of water', 'brew me a coffee', 'I am thirsty']);
    await page.click('#edit-save');
    await reader.see('#editor-said', /Another client changed the routes.*Your text is kept/);
    await page.click('#edit-save');
    await reader.see('#routes-said', 'food is saved and serves.');
    expect(await page.evaluate('document.activeElement.getAttribute("aria-label")')).toBe('Edit food');
    const { body } = await own.get<{ utterances: string[]; metadata: object }>('/routes/food');
    expect(body.utterances).toContain('good night pizza delivery');
    expect(body.metadata).toEqual({ model: 'small' });
    await reader.see('#serving-facts', '3 routes, 10 utterances');
  });

  it('compares versions and goes back to one, with the keyboard alone', async () => {
    const own = await startOwn();
    await put(own, 'food', ['order a pizza', 'I am hungry', 'bring me a burger', 'a plate of pasta']);
    const reader = await openReady(own);
    const { page } = reader;
    await reader.signIn();
    await page.focus('#routes-history');
    await page.keyboard.press('Enter');
    await reader.see('#history-list summary');
    await page.focus('#history-list > li:first-child summary');
    await page.keyboard.press('Enter');
    await reader.see('.changes', /food: 1 utterance added: “a plate of pasta”.*; model "small" → none/);
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width: colorScheme === 'light' ? 1280 : 390, height: 844 });
      expect(await reader.violations()).toEqual([]);
      expect(await reader.overflow('#history')).toBe(0);
    }
    await page.focus('button[aria-label="Go back to it: version 1"]');
    await page.keyboard.press('Enter');
    await reader.see('#history-said', 'Version 1 serves again.');
    // The list is read anew first.
    await eventually(async () => expect(await reader.focused()).toBe('history-undo'));
    // Also where the source is the file again.
    await reader.see('#history-list > li:first-child .tag', 'served');
    expect(await page.locator('.versions .tag', { hasText: /^served$/ }).count()).toBe(1);
    await page.keyboard.press('Escape');
    expect(await reader.focused()).toBe('routes-history');
    await reader.see('#serving-facts', '2 routes, 6 utterances');
  });

  it('shows texts of no route, and what changed of them', async () => {
    const own = await startOwn();
    await eventually(async () => expect((await own.get('/readyz')).status).toBe(200));
    const { routes } = (await own.get<{ routes: object[] }>('/routes')).body;
    await change(own, '/routes', { routes, none: ['is pizza healthy', 'how much does a bed cost'] });
    const reader = await openReady(own);
    await reader.see('#route-list', /no route/);
    await reader.page.locator('#route-list summary', { hasText: '2 texts to be sent nowhere' }).click();
    await reader.see('#route-list', /is pizza healthy/);
    await reader.signIn();
    await reader.page.focus('#routes-history');
    await reader.page.keyboard.press('Enter');
    await reader.see('#history-list summary');
    await reader.page.focus('#history-list > li:first-child summary');
    await reader.page.keyboard.press('Enter');
    await reader.see('.changes', /no route: 2 texts added: “is pizza healthy”, “how much does a bed cost”/);
  });

  it('says of a broken routes file that the routes from before go on, a line for each fault', async () => {
    const folder = await temporaryFolder(onTestFinished);
    const file = join(folder, 'routes.yaml');
    await writeFile(file, ROUTES);
    const own = await startOwn({ ROUTES_FILE: file });
    const reader = await openReady(own, { viewport: { width: 390, height: 900 } });
    await writeFile(file, `${ROUTES}  - nam: x\n    utterances: []\n`);
    await reader.see(
      '#notice',
      /those from before go on:\s+routes.yaml:9:5: unknown field "nam".*"name"\?\s+routes.yaml:10/,
    );
    await reader.signIn();
    // What belongs together stays in a line, also on a phone.
    const top = async (id: string): Promise<number> => (await reader.page.locator(id).boundingBox())?.y ?? 0;
    expect(Math.abs((await top('#forget')) - (await top('#state')))).toBeLessThan(24);
    await reader.page.evaluate('document.getElementById("routes-fold").open = true');
    await reader.page.click('button[aria-label="Edit food"]');
    await reader.see('#lint-summary', /this route/);
    expect(await reader.inView('#lint-summary')).toBe(true);
  });
});
