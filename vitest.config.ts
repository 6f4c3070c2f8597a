import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // As long as a busy machine may take.
    expect: { poll: { timeout: 20_000, interval: 20 } },
    // Two cores: more files at once only make real processes wait for each other.
    maxWorkers: 2,
  },
});
