import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';

/** What the image does is checked by `.ci/image.sh`, which builds and runs it. */
describe('the Dockerfile', async () => {
  const dockerfile = await readFile('Dockerfile', 'utf8');

  it('is built on images whose digest is pinned', () => {
    const names = Object.fromEntries(
      [...dockerfile.matchAll(/^ARG (\w+)=(.*)$/gm)].map(([, name, value]) => [`\${${name}}`, value]),
    );
    const bases = [...dockerfile.matchAll(/^FROM (\S+)/gm)].map(([, base = '']) => names[base] ?? base);
    expect(bases.length).toBeGreaterThan(2);
    for (const base of bases) expect(base).toMatch(/^[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}$/);
  });

  it('has no VOLUME instruction, which Railway refuses', () => {
    expect(dockerfile).not.toMatch(/^\s*VOLUME\b/im);
  });
});
