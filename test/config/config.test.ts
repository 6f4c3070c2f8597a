import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { settingRows, settingsPage } from '../../scripts/pages.js';
import { readConfig } from '../../src/config/config.js';
import { RETIRED_SETTINGS, retiredIn, SETTINGS } from '../../src/config/settings.js';
import { AppError } from '../../src/shared/errors.js';

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
    ['LOG_LEVEL', 'WARNING', /one of fatal, error, warn, info, .*not "WARNING"/],
    ['INFERENCE_WORKERS', '0', /from 1 to 256/],
    ['API_KEYS', 'a-key-of-good-length,short', /at least 16 characters/],
    ['API_KEYS', 'sha256:0123456789abcdef', /64 hexadecimal digits/],
    ['ADMIN_KEYS', 'a key with some blanks in it', /without blanks/],
    ['RATE_LIMIT', '600', /600\/minute/],
    ['RATE_LIMIT', '0/minute', /600\/minute/],
    ['RATE_LIMIT', '600/fortnight', /600\/minute/],
    ['TRUST_PROXY', 'yes', /none, x-real-ip/],
    ['TRUST_PROXY', '17', /1 to 16/],
    ['CORS_ORIGINS', 'app.example.org', /https:\/\/app\.example\.org/],
    ['CORS_ORIGINS', 'https://app.example.org/path', /origins/],
  ])('refuses %s=%s', (name, value, message) => {
    const error = faultsOf({ [name]: value });
    expect(error.code).toBe('config_invalid');
    expect(error.issues).toEqual([{ path: name, message: expect.stringMatching(message) }]);
  });

  it('keeps digests of keys, never keys', () => {
    const key = 'a-key-of-good-length';
    const digest = `sha256:${createHash('sha256').update(key).digest('hex')}`;
    expect(readConfig({ API_KEYS: `${key},${digest.toUpperCase()}` }).apiKeys).toEqual([digest, digest]);
  });

  it('reads rates, proxies and origins', () => {
    expect(
      readConfig({ RATE_LIMIT: '600 / Minute', TRUST_PROXY: '2', CORS_ORIGINS: 'https://a.example/, *' }),
    ).toMatchObject({
      rateLimit: { requests: 600, seconds: 60 },
      trustedProxy: { kind: 'forwarded', proxies: 2 },
      corsOrigins: ['https://a.example', '*'],
    });
    expect(readConfig({ RAILWAY_ENVIRONMENT_ID: 'x' }).trustedProxy).toEqual({ kind: 'real-ip' });
  });

  it('never repeats what may be secret', () => {
    const { message } = faultsOf({ MODEL_MIRRORS: 'https//cdn/?sig=s3cret', ADMIN_KEYS: 'tooshort' });
    expect(message).toContain('MODEL_MIRRORS');
    expect(message).toContain('ADMIN_KEYS');
    expect(message).not.toMatch(/s3cret|tooshort/);
  });
});

describe('retired settings', () => {
  it('are named while they are set, with their successor', () => {
    const retired = [
      { name: 'OLD_ONE', successor: 'use NEW_ONE' },
      { name: 'OLD_TWO', successor: 'it has no effect' },
    ];
    expect(retiredIn({ OLD_ONE: '1', OLD_TWO: ' ', PORT: '1' }, retired)).toEqual([retired[0]]);
  });

  it('are no settings any more', () => {
    const current = Object.values(SETTINGS).map(({ env }) => env);
    for (const { name } of RETIRED_SETTINGS) expect(current).not.toContain(name);
  });
});

describe('the settings reference', () => {
  it('says what the program says (npm run openapi writes it)', async () => {
    expect(await readFile('docs/settings.md', 'utf8')).toBe(settingsPage());
  });

  it('is what the README tells a part of', async () => {
    const readme = await readFile('README.md', 'utf8');
    const rows = readme.match(/^\| `[A-Z][A-Z_]+` \|.*$/gm) ?? [];
    expect(rows.length).toBeGreaterThanOrEqual(5);
    expect(settingRows()).toEqual(expect.arrayContaining(rows));
  });
});
