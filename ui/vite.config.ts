/// <reference types="vitest/config" />
import react from '@vitejs/plugin-react';
import { defineConfig, type Plugin } from 'vite';

/** Where a server listens that pages under development ask. */
const SERVER = process.env.NARTHEX_URL ?? 'http://127.0.0.1:9090';

/** Fills in what the server says in the document, as long as Vite serves it. */
function toldByServer(): Plugin {
  const words: Record<string, string> = { base: '/', version: 'development', title: 'Narthex' };
  return {
    name: 'told-by-server',
    apply: 'serve',
    transformIndexHtml: {
      order: 'pre',
      handler: html => html.replace(/\{\{(\w+)\}\}/g, (_, word) => words[word] ?? ''),
    },
  };
}

export default defineConfig({
  // The document's <base> says where pages lie.
  base: './',
  plugins: [react(), toldByServer()],
  build: {
    // What has light-dark() and popovers.
    target: ['chrome123', 'firefox125', 'safari17.5'],
    // Everything is a file, so that the policy needs no data: for scripts and fonts.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // Says what the entry loads, for scripts/budget.mjs; not part of what is committed.
    manifest: 'manifest.json',
  },
  server: { proxy: { '/api': SERVER, '/-/': SERVER } },
  test: {
    environment: 'happy-dom',
    include: ['src/**/*.test.{ts,tsx}'],
    setupFiles: ['test/setup.ts'],
    // Making a document for each file would take longer than all tests.
    isolate: false,
    pool: 'threads',
  },
});
