import { describe, expect, it } from 'vitest';
import { isMetadataAddress, isPrivateAddress } from '../../../src/cache/sources/address.js';
import { retryDelayMs } from '../../../src/cache/sources/faults.js';
import { proxyFor } from '../../../src/cache/sources/proxy.js';
import { backoffMs } from '../../../src/cache/sources/retry.js';
import { hubUrl, parseBaseUrl, plainUrl, redactUrl } from '../../../src/cache/sources/url.js';

/** One case for each word of a list. */
const addresses = (list: string, ...more: string[]): string[] => [...list.trim().split(/\s+/), ...more];

describe('private addresses', () => {
  it.each(
    addresses(
      `
      0.0.0.0 10.1.2.3 100.64.0.1 100.127.255.255 127.0.0.1 127.9.9.9 169.254.169.254 172.16.0.1
      172.31.255.255 192.168.1.1 224.0.0.1 255.255.255.255 :: ::1 [::1] fe80::1 fe80::1%eth0 fc00::1
      fd12:3456::1 ff02::1 ::ffff:127.0.0.1 ::ffff:7f00:1 0:0:0:0:0:ffff:c0a8:0101 64:ff9b::10.0.0.1
      2002:7f00:1:: 64:ff9b:1::a9fe:a9fe 64:ff9b:1::808:808 ::ffff:0:7f00:1 ::ffff:0:808:808
      2001:0:5ef5:79fb::1 ::7f00:1 192.0.0.192
    `,
      'not an address',
      '',
    ),
  )('%s is one', (address) => {
    expect(isPrivateAddress(address)).toBe(true);
  });

  it.each(
    addresses(`
      1.1.1.1 100.63.255.255 100.128.0.0 172.15.0.1 172.32.0.1 192.167.1.1 223.255.255.255
      2606:4700::1111 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::
    `),
  )('%s is none', (address) => {
    expect(isPrivateAddress(address)).toBe(false);
  });
});

describe('addresses of metadata services', () => {
  it.each(
    addresses(
      `
      169.254.169.254 169.254.170.2 100.100.100.200 168.63.129.16 [fe80::a9fe:a9fe%eth0] fd00:ec2::254
      fd00:ec2::23 [fd20:ce::254] fd00:c1::a9fe:a9fe ::ffff:169.254.169.254 ::ffff:a9fe:a9fe
      ::ffff:168.63.129.16 64:ff9b::a9fe:a9fe 64:ff9b:1::a9fe:a9fe ::ffff:0:a9fe:a9fe
      2001:0:a9fe:a9fe::1 2002:a9fe:a9fe:: 192.0.0.192
    `,
      'not an address',
    ),
  )('%s is one', (address) => {
    expect(isMetadataAddress(address)).toBe(true);
  });

  it.each(
    addresses(`
      127.0.0.1 10.1.2.3 100.100.100.201 168.63.129.17 ::ffff:10.1.2.3 fd12:3456::1 fd00:ec3::254
      fd20:ce:1::254 ::1 8.8.8.8
    `),
  )('%s is none', (address) => {
    expect(isMetadataAddress(address)).toBe(false);
  });
});

describe('URLs', () => {
  const file = { path: 'onnx/model quantized+.onnx', size: 1, sha256: '0'.repeat(64) };

  it('are made of encoded segments', () => {
    const base = parseBaseUrl('https://hub.example.org//');
    expect(hubUrl(base, 'org/na me', 'r/1', file).href).toBe(
      'https://hub.example.org/org/na%20me/resolve/r%2F1/onnx/model%20quantized%2B.onnx',
    );
    expect(plainUrl(parseBaseUrl('http://cdn:8080/a/?sig=1#x'), file).href).toBe(
      'http://cdn:8080/a/onnx/model%20quantized%2B.onnx?sig=1',
    );
  });

  it('are shown without secrets', () => {
    expect(redactUrl('https://me:pw@cdn.example.org:8443/a/b?X-Sig=s#frag')).toBe(
      'https://cdn.example.org:8443/a/b',
    );
    expect(redactUrl('no url?secret')).toBe('(unreadable URL)');
  });
});

describe('the time that a server asks for', () => {
  const now = Date.UTC(2030, 0, 1, 12, 0, 0);
  it.each([
    [{}, undefined],
    [{ 'retry-after': '0' }, 0],
    [{ 'retry-after': ' 120 ' }, 120_000],
    [{ 'retry-after': 'Tue, 01 Jan 2030 12:00:30 GMT' }, 30_000],
    [{ 'retry-after': 'Tue, 01 Jan 2030 11:00:00 GMT' }, 0],
    [{ 'retry-after': '-5' }, undefined],
    [{ 'retry-after': '5.5' }, undefined],
    [{ 'retry-after': 'soon' }, undefined],
    [{ 'retry-after': '' }, undefined],
    [{ ratelimit: '"resolvers";r=0;t=20' }, 20_000],
    [{ ratelimit: 'limit=100, remaining=0, reset=7' }, 7_000],
    [{ 'ratelimit-reset': '9' }, 9_000],
    [{ 'retry-after': '3', ratelimit: '"resolvers";r=0;t=20' }, 3_000],
    [{ ratelimit: '"total";r=5' }, undefined],
  ])('in %j is %j ms', (headers, expected) => {
    expect(retryDelayMs(headers, now)).toBe(expected);
  });
});

describe('the wait between attempts', () => {
  const limits = { backoffBaseMs: 100, backoffCapMs: 500 };
  it('doubles its range up to the cap', () => {
    const longest = [1, 2, 3, 4, 9, 2_000].map((failed) => backoffMs(failed, limits, 1));
    expect(longest).toEqual([100, 200, 400, 500, 500, 500]);
  });

  it('is anywhere in the upper half of its range, so that it is never none', () => {
    expect(backoffMs(3, limits, 0)).toBe(200);
    expect(backoffMs(3, limits, 0.5)).toBe(300);
  });
});

describe('the proxy for a URL', () => {
  const env = { https_proxy: 'http://tls-proxy:3128', HTTP_PROXY: 'me:pw@plain-proxy:8080' };
  const of = (url: string, more: Record<string, string> = {}) =>
    proxyFor(new URL(url), { ...env, ...more })?.host;

  it('is that of its scheme, in lower or upper case', () => {
    expect(of('https://huggingface.co/a')).toBe('tls-proxy:3128');
    expect(of('http://mirror.example.org/a')).toBe('plain-proxy:8080');
    expect(of('https://a.example', { https_proxy: '', ALL_PROXY: 'http://any:1' })).toBe('any:1');
    expect(proxyFor(new URL('https://a.example'), {})).toBeUndefined();
  });

  it.each([
    'mirror.internal',
    'internal',
    '.internal',
    '*.internal',
    'a.example, mirror.internal:8443',
    'a.example mirror.internal',
    '*',
  ])('is none for a host in NO_PROXY=%s', (list) => {
    expect(of('https://mirror.internal:8443/a', { NO_PROXY: list })).toBeUndefined();
    expect(of('https://mirror.internal:8443/a', { no_proxy: list })).toBeUndefined();
  });

  it.each(['mirror.internal:443', 'irror.internal', 'internal.example', ''])(
    'is not left out for NO_PROXY=%s',
    (list) => {
      expect(of('https://mirror.internal:8443/a', { NO_PROXY: list })).toBe('tls-proxy:3128');
    },
  );

  it.each([
    ['http://10.1.2.3/', '10.0.0.0/8'],
    ['http://[fd12::1]:8080/', 'fd00::/8'],
    ['http://[fd12::1]:8080/', '[fd12::1]:8080'],
    ['http://127.0.0.1:9/', '127.0.0.1'],
  ])('is none for %s in NO_PROXY=%s', (url, list) => {
    expect(of(url, { NO_PROXY: list })).toBeUndefined();
    expect(of('http://11.1.2.3/', { NO_PROXY: list })).toBe('plain-proxy:8080');
  });

  it('must speak http, and is not quoted when it does not', () => {
    const socks = () => of('https://a.example', { https_proxy: 'socks5://me:s3cret@host:1' });
    expect(socks).toThrow(/HTTPS_PROXY .* must be an http or https URL/);
    expect(socks).not.toThrow(/s3cret/);
  });
});
