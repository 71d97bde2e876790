import { describe, expect, it } from 'vitest';
import { fileFaults } from '../../scripts/bundle.mjs';

describe('the check of the bundle', () => {
  it('refuses each thing that Chromium 86 lacks', () => {
    const tooNew = [
      'a:has(b){color:red}',
      ':where(a){color:red}',
      ':is(a,b){color:red}',
      'a:not(b,c){color:red}',
      'a{aspect-ratio:1}',
      'a{color:red;inset:0}',
      'a{margin-inline:1px}',
      'a{accent-color:red}',
      'a{translate:1px}',
      'a{text-wrap:balance}',
      'a{scrollbar-gutter:stable}',
      'a{field-sizing:content}',
      'a{overflow:clip}',
      'a{height:100dvh}',
      '@layer a{}',
      '@container (width>1px){}',
      'a{color:oklch(1 0 0)}',
      'a{color:color-mix(in srgb,red,blue)}',
      '@media (width>=600px){a{color:red}}',
      'a{&:hover{color:red}}',
    ];
    for (const css of tooNew) expect(fileFaults('x.css', css), css).not.toEqual([]);
    for (const script of ['structuredClone(a)', 'crypto.randomUUID()', 'AbortSignal.timeout(1)', 'Object.hasOwn(a,b)', 'a.findLast(f)']) {
      expect(fileFaults('x.js', script), script).not.toEqual([]);
    }
  });

  it('refuses inline script, inline style and other hosts', () => {
    const bad = ['<style>a{}</style>', '<script>a()</script>', '<p onclick="a()">', '<p style="color:red">', '<img src="https://example.com/a.png">', '<link href="//example.com/a.css">'];
    for (const html of bad) expect(fileFaults('x.html', html), html).not.toEqual([]);
    expect(fileFaults('x.css', '@import "a.css"')).not.toEqual([]);
    expect(fileFaults('x.css', 'a{background:url(https://example.com/a.png)}')).not.toEqual([]);
  });

  it('takes what the floor has', () => {
    const css = 'a:focus-visible{margin-left:1px;gap:1px;width:min(1px,2vw)}@media (min-width:600px){a:not(b){overflow:hidden}}';
    expect(fileFaults('x.css', css)).toEqual([]);
    expect(fileFaults('x.html', '<script type="module" src="/assets/a.js"></script><link rel="stylesheet" href="/assets/a.css">')).toEqual([]);
  });
});
