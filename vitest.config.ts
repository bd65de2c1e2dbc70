import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['src/**/*.test.ts'],
          testTimeout: 60_000,
          hookTimeout: 60_000,
          // A thread starts in a tenth of a second, unless other work has every core.
          expect: { poll: { timeout: 10_000 } },
        },
      },
      // These start real processes and use both cores: one file at a time.
      {
        test: {
          name: 'process',
          include: ['test/**/*.test.ts'],
          testTimeout: 300_000,
          hookTimeout: 300_000,
          fileParallelism: false,
        },
      },
    ],
  },
})
