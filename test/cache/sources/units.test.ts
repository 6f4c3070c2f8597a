import { describe, expect, it } from 'vitest';
import { isMetadataAddress, isPrivateAddress } from '../../../src/cache/sources/address.js';
import { contentRangeOf } from '../../../src/cache/sources/answer.js';
import { retryAfterMs } from '../../../src/cache/sources/faults.js';
import { redactUrl, WIRE_DEFAULTS } from '../../../src/cache/sources/index.js';
import { backoffMs } from '../../../src/cache/sources/retry.js';
import { hubUrl, parseBaseUrl, plainUrl } from '../../../src/cache/sources/url.js';

describe('private addresses', () => {
  it.each([
    '0.0.0.0',
    '10.1.2.3',
    '100.64.0.1',
    '100.127.255.255',
    '127.0.0.1',
    '127.9.9.9',
    '169.254.169.254',
    '172.16.0.1',
    '172.31.255.255',
    '192.168.1.1',
    '224.0.0.1',
    '255.255.255.255',
    '::',
    '::1',
    '[::1]',
    'fe80::1',
    'fe80::1%eth0',
    'fc00::1',
    'fd12:3456::1',
    'ff02::1',
    '::ffff:127.0.0.1',
    '::ffff:7f00:1',
    '0:0:0:0:0:ffff:c0a8:0101',
    '64:ff9b::10.0.0.1',
    '2002:7f00:1::',
    'not an address',
    '',
  ])('%s is one', (address) => {
    expect(isPrivateAddress(address)).toBe(true);
  });

  it.each([
    '1.1.1.1',
    '100.63.255.255',
    '100.128.0.0',
    '172.15.0.1',
    '172.32.0.1',
    '192.167.1.1',
    '223.255.255.255',
    '2606:4700::1111',
    '::ffff:8.8.8.8',
    '64:ff9b::8.8.8.8',
    '2002:808:808::',
  ])('%s is none', (address) => {
    expect(isPrivateAddress(address)).toBe(false);
  });
});

describe('addresses of metadata services', () => {
  it.each([
    '169.254.169.254',
    '169.254.170.2',
    '100.100.100.200',
    '168.63.129.16',
    '[fe80::a9fe:a9fe%eth0]',
    'fd00:ec2::254',
    'fd00:ec2::23',
    '[fd20:ce::254]',
    'fd00:c1::a9fe:a9fe',
    '::ffff:169.254.169.254',
    '::ffff:a9fe:a9fe',
    '::ffff:168.63.129.16',
    '64:ff9b::a9fe:a9fe',
    'not an address',
  ])('%s is one', (address) => {
    expect(isMetadataAddress(address)).toBe(true);
  });

  it.each([
    '127.0.0.1',
    '10.1.2.3',
    '100.100.100.201',
    '168.63.129.17',
    '::ffff:10.1.2.3',
    'fd12:3456::1',
    'fd00:ec3::254',
    'fd20:ce:1::254',
    '::1',
    '8.8.8.8',
  ])('%s is none', (address) => {
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

describe('Retry-After', () => {
  const now = Date.UTC(2030, 0, 1, 12, 0, 0);
  it.each([
    [undefined, undefined],
    ['0', 0],
    [' 120 ', 120_000],
    ['Tue, 01 Jan 2030 12:00:30 GMT', 30_000],
    ['Tue, 01 Jan 2030 11:00:00 GMT', 0],
    ['-5', undefined],
    ['5.5', undefined],
    ['soon', undefined],
    ['', undefined],
  ])('%j is %j ms', (value, expected) => {
    expect(retryAfterMs(value, now)).toBe(expected);
  });
});

describe('the wait between attempts', () => {
  const limits = { backoffBaseMs: 100, backoffCapMs: 500 };
  it('doubles its range up to the cap', () => {
    const longest = [1, 2, 3, 4, 9, 2_000].map((failed) => backoffMs(failed, limits, () => 1));
    expect(longest).toEqual([100, 200, 400, 500, 500, 500]);
  });

  it('is anywhere in its range', () => {
    expect(backoffMs(3, limits, () => 0)).toBe(0);
    expect(backoffMs(3, limits, () => 0.5)).toBe(200);
  });

  it('has defaults that nobody changes', () => {
    expect(Object.isFrozen(WIRE_DEFAULTS)).toBe(true);
  });
});

describe('Content-Range', () => {
  it.each([
    ['bytes 5-9/10', { start: 5, end: 9, total: 10 }],
    ['bytes 5-9/*', { start: 5, end: 9, total: undefined }],
    ['bytes */10', { start: undefined, end: undefined, total: 10 }],
    ['bytes=5-9/10', undefined],
    ['items 5-9/10', undefined],
    ['bytes -5-9/10', undefined],
  ])('%j is read', (value, expected) => {
    expect(contentRangeOf({ 'content-range': value })).toEqual(expected);
  });
});
