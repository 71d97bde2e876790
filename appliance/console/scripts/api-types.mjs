// Types of the gateway's API, generated from its OpenAPI document. With `--write` the file is written; without, the
// script fails when the committed file is not what the document gives.

import { readFile, writeFile } from 'node:fs/promises';
import openapiTS, { astToString } from 'openapi-typescript';

const document = new URL('../../gateway/openapi.json', import.meta.url);
const types = new URL('../src/api/schema.d.ts', import.meta.url);

const generated = `/** Generated from appliance/gateway/openapi.json by \`npm run api\`. */\n\n${astToString(await openapiTS(document))}`;

if (process.argv.includes('--write')) {
  await writeFile(types, generated);
} else if ((await readFile(types, 'utf8').catch(() => '')) !== generated) {
  console.error('src/api/schema.d.ts does not match appliance/gateway/openapi.json: run `npm run api` and read the difference');
  process.exit(1);
}
