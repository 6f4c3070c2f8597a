import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { defaultTextOf, readConfig } from '../src/config.js';
import { AppError } from '../src/errors.js';
import { SETTINGS, type Setting } from '../src/settings.js';

function faultsOf(env: NodeJS.ProcessEnv): AppError {
  try {
    readConfig(env);
  } catch (error) {
    if (error instanceof AppError) return error;
  }
  throw new Error('was accepted');
}

describe('readConfig', () => {
  it('has a default for everything', () => {
    expect(readConfig({})).toMatchObject({
      port: 3000,
      host: undefined,
      sources: ['bundled', 'mirror', 'hub'],
      verifyCron: '17 * * * *',
      hubEndpoint: 'https://huggingface.co',
      drainMs: 10_000,
      logLevel: 'info',
    });
  });

  it('takes empty variables for unset ones, and 0 for a value', () => {
    expect(readConfig({ PORT: '', HF_TOKEN: ' ' })).toMatchObject({ port: 3000, hubToken: undefined });
    expect(readConfig({ PORT: '0', DRAIN_MS: '0' })).toMatchObject({ port: 0, drainMs: 0 });
  });

  it('finds the volume where Railway mounts it', () => {
    expect(readConfig({ RAILWAY_VOLUME_MOUNT_PATH: '/mnt/v' }).cacheDir).toBe('/mnt/v');
    expect(readConfig({ RAILWAY_VOLUME_MOUNT_PATH: '/mnt/v', MODEL_CACHE_DIR: 'x' }).cacheDir).toBe(
      resolve('x'),
    );
  });

  it.each<[string, string, RegExp]>([
    ['PORT', '65536', /whole number from 0 to 65535, not "65536"/],
    ['PORT', '80a', /whole number/],
    ['PORT', '-1', /whole number/],
    ['PORT', '1e3', /whole number/],
    ['MODEL_SOURCES', 'bundled,bundled', /twice/],
    ['MODEL_SOURCES', 'cdn', /bundled, mirror, hub/],
    ['MODEL_SOURCES', ',', /at least one/],
    ['HF_ENDPOINT', 'huggingface.co', /http:\/\/ or https:\/\//],
    ['HF_ENDPOINT', 'file:///etc/passwd', /http:\/\/ or https:\/\//],
    ['HF_HUB_OFFLINE', 'maybe', /true or false/],
    ['VERIFY_CRON', '* * *', /cron expression/],
    ['LOG_LEVEL', 'loud', /one of fatal/],
    ['INFERENCE_WORKERS', '0', /from 1 to 256/],
  ])('refuses %s=%s', (name, value, message) => {
    const error = faultsOf({ [name]: value });
    expect(error.code).toBe('config_invalid');
    expect(error.issues).toEqual([{ path: name, message: expect.stringMatching(message) }]);
  });

  it('never repeats what may be secret', () => {
    const { message } = faultsOf({ MODEL_MIRRORS: 'https//cdn/?sig=s3cret', ADMIN_KEYS: 'tooshort' });
    expect(message).toContain('MODEL_MIRRORS');
    expect(message).toContain('ADMIN_KEYS');
    expect(message).not.toMatch(/s3cret|tooshort/);
  });
});

describe('the settings table of the README', () => {
  it('says what the program says', async () => {
    const readme = await readFile('README.md', 'utf8');
    const settings: Setting<unknown>[] = Object.values(SETTINGS);
    for (const setting of settings) {
      expect(readme).toContain(`| \`${setting.env}\` | ${defaultTextOf(setting)} | ${setting.help} |`);
    }
  });
});
