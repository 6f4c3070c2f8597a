import { describe, expect, it } from 'vitest';
import { servingDaemon, startDaemon } from '../support/daemon.js';
import { temporaryFolder } from '../support/volume.js';
import { run, runJson } from './program.js';

const MODEL = 'Xenova/all-MiniLM-L6-v2';

describe('one instance feeds the next', () => {
  it('through SERVE_MODEL, to a second daemon and to pull', async () => {
    const offline = { HF_HUB_OFFLINE: '1' };
    const first = await servingDaemon({
      ...offline,
      SERVE_MODEL: '1',
    });
    const fed = { ...offline, MODEL_SOURCES: 'mirror', MODEL_MIRRORS: first.url };
    const second = await servingDaemon({ ...fed });
    const { body } = await second.get<{ whole: boolean; files: { source: string }[] }>('/cache/status');
    expect(body.whole).toBe(true);
    for (const { source } of body.files) expect(source).toBe(`mirror ${new URL(first.url).host}`);
    const text = { text: 'my card was charged twice' };
    const [a, b] = await Promise.all([first.post('/classify', text), second.post('/classify', text)]);
    expect(b.body).toEqual(a.body);

    const env = { ...fed, MODEL_MIRRORS: `${first.url}/models`, MODEL_CACHE_DIR: await temporaryFolder() };
    expect((await run(['pull'], env)).code).toBe(0);
  });

  it('and tells pin which commit and files it has', async () => {
    const first = await startDaemon({
      HF_HUB_OFFLINE: '1',
      MODEL_CACHE_DIR: await temporaryFolder(),
      SERVE_MODEL: 'true',
      // What an instance serves are the hub's files; a recipe is made apart (`pin --fixed-scales`).
      MODEL_VARIANT: 'q8-dynamic',
    });
    await first.ready();
    const args = ['pin', `${MODEL}@main`, '--from', first.url, '--max-tokens', '256'];
    const { code, report } = await runJson<{ digest: string; manifest: { license: string } }>(args);
    expect(code).toBe(0);
    const { body } = await first.get<{ manifest: { digest: string } }>('/cache/status');
    expect(report.digest).toBe(body.manifest.digest);
    expect(report.manifest.license).toBe('apache-2.0');
  });

  it('only where it is switched on', async () => {
    const daemon = await startDaemon();
    const { status } = await daemon.get(`/${MODEL}/resolve/main/config.json`);
    expect(status).toBe(404);
  });
});
