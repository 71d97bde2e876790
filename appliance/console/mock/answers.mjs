// What the mock model says: the public questions of the demo model, in its own words.

const FAQ = [
  [/who can read the audit log/i, 'Only the auditor may read the audit log.'],
  [/谁.*审计日志/, '只有安全审计员可以读取审计日志。'],
  [/back ?up/i, 'Open the backup page, insert an encrypted USB drive and press start.'],
  [/security admin/i, 'The security admin manages user accounts, roles and password rules.'],
  [/不联网|离线|互联网/, '本机没有互联网连接，因此您的数据不会离开现场。'],
];

const CODE = '调用接口时，只需更换地址和密钥：\n\n```python\nfrom openai import OpenAI\n\nclient = OpenAI(base_url="https://box/v1", api_key=key)\nanswer = client.chat.completions.create(\n    model="canary-glm4",\n    messages=[{"role": "user", "content": "你好"}],\n)\n```\n\n其余代码不必改动。<b>标签</b>只作为文字显示。';

/** Pieces of the answer to a request: `{reasoning}`, `{content}` or `{call}`, in order. */
export function answer(request) {
  const question = lastText(request.messages);
  const thinks = request.chat_template_kwargs?.enable_thinking === true;
  const thinking = thinks ? pieces('A question about the appliance.').map((reasoning) => ({ reasoning })) : [];
  const sum = /(\d+)\s*\+\s*(\d+)/.exec(question);
  if (sum !== null && request.tools?.length > 0) {
    const text = JSON.stringify({ first: Number(sum[1]), second: Number(sum[2]) });
    return [...thinking, { call: { index: 0, id: 'call_0', type: 'function', function: { name: 'calc_sum', arguments: '' } } }, ...pieces(text, 4).map((part) => ({ call: { index: 0, function: { arguments: part } } }))];
  }
  return [...thinking, ...pieces(reply(question)).map((content) => ({ content }))];
}

function reply(question) {
  const range = /count from (\d+) to (\d+)/i.exec(question);
  if (range !== null) {
    const [from, to] = [Number(range[1]), Number(range[2])];
    return Array.from({ length: Math.max(0, Math.min(to - from + 1, 2000)) }, (_, index) => from + index).join(' ');
  }
  if (/代码|code sample/i.test(question)) return CODE;
  return FAQ.find(([pattern]) => pattern.test(question))?.[1] ?? 'I am a demonstration model and only know this appliance.';
}

function lastText(messages) {
  const content = messages[messages.length - 1]?.content;
  return typeof content === 'string' ? content : '';
}

function pieces(text, size = 5) {
  const characters = Array.from(text);
  return Array.from({ length: Math.ceil(characters.length / size) }, (_, index) => characters.slice(index * size, (index + 1) * size).join(''));
}
