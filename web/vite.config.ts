import { defineConfig } from 'vitest/config';

// PINFLOW_URL is the server that `npm run dev` passes API calls to.
const server = process.env['PINFLOW_URL'] ?? 'http://127.0.0.1:8080';

export default defineConfig({
  build: {
    assetsInlineLimit: 0, // the content security policy allows no data: URLs
    modulePreload: { polyfill: false },
    target: 'es2022',
  },
  server: { proxy: { '/v1': server } },
  test: { include: ['test/**/*.test.{ts,tsx}'] },
});
