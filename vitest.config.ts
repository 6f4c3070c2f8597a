import { availableParallelism } from 'node:os';
import { defineConfig } from 'vitest/config';

/** `npm run resilience`; without it, tests of the long form are skipped. */
const isLong = process.env.RESILIENCE === 'long';
const RESILIENCE = 'test/resilience/**/*.test.ts';
/** Tests that measure under load: each has the machine for itself in the long form. */
const MEASURED = 'test/resilience/{overload,rude,soak}.test.ts';
const globalSetup = 'test/resilience/setup.ts';

export default defineConfig({
  test: {
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // More files at once than cores only make real processes wait for each other.
    maxWorkers: availableParallelism(),
    projects: [
      {
        extends: true,
        test: { name: 'unit', include: ['test/**/*.test.ts'], exclude: [RESILIENCE] },
      },
      {
        extends: true,
        test: {
          name: 'resilience',
          include: [RESILIENCE],
          exclude: isLong ? [MEASURED] : [],
          globalSetup,
          testTimeout: isLong ? 3_600_000 : 120_000,
          maxConcurrency: availableParallelism(),
        },
      },
      {
        extends: true,
        test: {
          name: 'resilience-load',
          include: isLong ? [MEASURED] : [],
          globalSetup,
          testTimeout: 7_200_000,
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
