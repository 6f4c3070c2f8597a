import { constants } from 'node:os';
import { describe, expect, it } from 'vitest';
import { asVolumeError } from '../../src/cache/disk.js';
import { errnoOf } from '../../src/shared/errors.js';

/** An error as Node.js makes it of a number that libuv has no name for. */
function nameless(errno: number): Error {
  return Object.assign(new Error(`Unknown system error -${errno}`), {
    code: `Unknown system error -${errno}`,
    errno: -errno,
  });
}

describe('errnoOf', () => {
  it('knows the name of a used-up quota, which libuv does not', () => {
    expect(errnoOf(nameless(constants.errno.EDQUOT))).toBe('EDQUOT');
    expect(asVolumeError(nameless(constants.errno.EDQUOT), 'writing').code).toBe('volume_full');
  });

  it('leaves what it does not know as it is', () => {
    expect(errnoOf(nameless(99_999))).toBe('Unknown system error -99999');
    expect(errnoOf(new Error('no code'))).toBeUndefined();
  });
});
