// What a developer's Node.js program sees: the official OpenAI SDK, unchanged, against a box whose queue is busy.
//
// usage: sdk.mjs DEMO.json   (NODE_EXTRA_CA_CERTS names the box's certificate authority)

import { readFileSync } from 'node:fs';
import OpenAI from 'openai';

const demo = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const client = new OpenAI({ baseURL: `${demo.base_url}/v1`, apiKey: demo.api_key, maxRetries: 0, timeout: 120_000 });
let passed = 0;
let failed = 0;

function claim(text, holds, detail = '') {
  if (holds) passed += 1;
  else {
    failed += 1;
    console.log(`FAILED: ${text} ${detail}`);
  }
}

async function count(from, to) {
  const stream = await client.chat.completions.create({
    model: demo.model,
    stream: true,
    temperature: 0,
    reasoning_effort: 'none',
    messages: [{ role: 'user', content: `Please count from ${from} to ${to}.` }],
  });
  let text = '';
  for await (const chunk of stream) text += chunk.choices[0]?.delta?.content ?? '';
  return text;
}

const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, index) => from + index).join(' ');
// More streams than run at once: most of them get the comments of the queue, which must not disturb the SDK.
const answers = await Promise.all(Array.from({ length: 12 }, () => count(290, 303)));
for (const answer of answers) claim('a stream that waited is whole', answer === numbers(290, 303), answer);

const { data, response } = await client.chat.completions
  .create({ model: demo.model, messages: [{ role: 'user', content: 'Hello' }], max_tokens: 4 })
  .withResponse();
claim('a whole answer comes', data.choices.length === 1);
claim('the request id comes', Boolean(response.headers.get('x-request-id')));
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed || !passed ? 1 : 0);
