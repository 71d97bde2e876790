// What the mock box says about itself: one healthy developer's machine, and other moods by name.

const WALLS = ['user-namespace', 'network-namespace', 'mount-namespace', 'pid-namespace', 'ipc-namespace', 'empty-root', 'own-user', 'no-capabilities', 'no-new-privileges', 'seccomp', 'landlock', 'no-core-dumps'];
const PLATFORM = ['sealed-image', 'secure-boot', 'tpm-sealed-keys', 'fs-verity', 'encrypted-state'];

export const SERIAL = 'JG26A00317';

export const MODEL = {
  name: 'canary-glm4',
  version: '1.0.0',
  security_version: 1,
  package_digest: '5b0c6f1de2a94c7790aa3c41c4a06f0c2f4a6d5fb58c7fd1a0b83d6a52d1e9f4',
  weights_digest: '42f5cc97269a59ce4b1c1970e0f7dc95847bff3f84c08430bae60ee6aadf9460',
  weights_bytes: 8_512_608,
  signed_by: 'c2e7a9d1580b64f3e1d2c3b4a5968778695a4b3c2d1e0f9182736455463728191'.slice(0, 64),
  architecture: 'glm4',
  parameter_count: 3_114_752,
  layer_count: 4,
  head_count: 8,
  kv_head_count: 2,
  context_tokens: 2048,
  kv_bytes_per_token: 1024,
  tensor_types: [['F16', 30], ['F32', 17]],
  tokenizer: 'gpt2/glm4',
  chat_template_digest: '9f2c1a7be04d5583c6f1e2d3c4b5a69788796a5b4c3d2e1f0a1b2c3d4e5f6071',
  license: 'MIT',
  filing_number: '',
  imported_at: '2026-11-24T11:58:03Z',
  state: 'serving',
};

/** A whole status. `mood` is `ok`, `restarting` or `stopped`. */
export function status(mood, startedAt, leafCount) {
  const uptime = Date.now() - startedAt;
  const restarting = mood === 'restarting';
  return {
    version: '0.1.0',
    serial: SERIAL,
    health: mood === 'ok' ? 'ok' : mood === 'stopped' ? 'stopped' : 'degraded',
    reasons: mood === 'ok' ? [] : [mood === 'stopped' ? 'audit.unwritable' : 'engine.crashed'],
    details: [],
    is_set_up: true,
    is_developer_mode: true,
    platform: [],
    supervisor_pid: 41_210,
    processes: [
      { role: 'gateway', pid: 41_233, phase: 'serving', restart_count: 0, step_count: null, model: null, progress: null },
      { role: 'engine', pid: restarting ? null : 41_240, phase: restarting ? 'restarting' : 'serving', restart_count: restarting ? 3 : 0, step_count: restarting ? null : Math.floor(uptime / 25), model: `${MODEL.name} ${MODEL.version}`, progress: null },
    ],
    serving: restarting ? null : MODEL,
    guarantees: [
      ...['gateway', 'engine'].flatMap((part) => WALLS.map((wall) => ({ name: `${part}.${wall}`, group: 'process', in_force: true, why: null }))),
      ...PLATFORM.map((name) => ({ name: `platform.${name}`, group: 'platform', in_force: false, why: 'guarantee.why.developer-machine' })),
    ],
    audit: {
      origin: `jingui.local/${SERIAL}/audit`,
      vkey: `jingui.local/${SERIAL}/audit+1f2e3d4c+AYEv1w0m9mS1k8n0o3pQ4r5sT6u7vW8xY9zA0bC1dE2f`,
      size: leafCount,
      root: 'q1uXcYJmE9mQ2oQ0mYy8sJ3b5f0p0Zx8n7o2m1l4k3c=',
      is_writable: mood !== 'stopped',
    },
    uptime_ms: uptime,
  };
}
