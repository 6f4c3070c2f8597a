import { describe, expect, it } from 'vitest';
import { VerifiedBytes } from '../../src/cache/reconciliation.js';

const file = (sha256: string) => ({ path: `${sha256}.bin`, size: 3, sha256 });

describe('verified bytes', () => {
  it('are handed over once, of the files that are wanted', () => {
    const verified = new VerifiedBytes([file('aa')]);
    expect(verified.keeperOf(file('bb'))).toBeUndefined();
    verified.keeperOf(file('aa'))?.(Buffer.from('old'));
    verified.keeperOf(file('aa'))?.(Buffer.from('new'));
    expect(verified.take(file('aa'))?.toString()).toBe('new');
    expect(verified.take(file('aa'))).toBeUndefined();
  });

  it('are kept no longer once they are not wanted', () => {
    const verified = new VerifiedBytes([file('aa')]);
    const late = verified.keeperOf(file('aa'));
    verified.keeperOf(file('aa'))?.(Buffer.from('one'));
    verified.close();
    late?.(Buffer.from('two'));
    expect(verified.take(file('aa'))).toBeUndefined();
    expect(verified.keeperOf(file('aa'))).toBeUndefined();
  });
});
