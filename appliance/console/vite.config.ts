import { defineConfig, type Plugin } from 'vite';
import words from '../messages/catalogue/console.json';

const catalogue: Record<string, Record<string, string>> = words;

/** Puts words of the catalogue into `index.html`, where `{{key language}}` stands, for browsers that run no script. */
const wordsInHtml: Plugin = {
  name: 'words-in-html',
  transformIndexHtml: (html) =>
    html.replace(/\{\{(\S+) (\S+)\}\}/g, (_, key: string, language: string) => {
      const word = catalogue[key]?.[language];
      if (word === undefined) throw new Error(`index.html: no words for ${key} in ${language}`);
      return word;
    }),
};

export default defineConfig({
  plugins: [wordsInHtml],
  esbuild: { jsx: 'automatic' },
  css: { modules: { localsConvention: 'camelCaseOnly' } },
  build: {
    // The floor: Chromium 86, the oldest engine in use in domestic browsers that we support.
    target: 'chrome86',
    cssTarget: 'chrome86',
    // Nothing is inlined: the content security policy allows no inline script, no inline style and no data: font.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    sourcemap: false,
    reportCompressedSize: false,
  },
  server: {
    // During development the real gateway or the mock answers: `npm run mock`.
    proxy: { '/api': 'http://127.0.0.1:8480' },
  },
});
