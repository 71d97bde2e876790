/** What went wrong, in the form people get it: what happened, why, what to do, and a stable code. */

export interface Words {
  what: string;
  why?: string;
  remedy?: string;
}

/** A refusal or failure of a call. `words` is absent when the gateway could not be reached or gave none. */
export class Fault extends Error {
  readonly code: string;
  readonly status: number;
  readonly words: Words | undefined;

  constructor(code: string, status: number, words?: Words) {
    super(code);
    this.name = 'Fault';
    this.code = code;
    this.status = status;
    this.words = words;
  }
}

/** Codes of the console's own, for what only it can see. Their words are in the console's catalogue. */
export const consoleCodes = {
  unreachable: 'console.unreachable',
  cutOff: 'console.answer-cut-off',
  unreadable: 'console.unreadable-answer',
} as const;

/** Reads an error body: `application/problem+json` of the console API, or the OpenAI error object of the chat. */
export function readFault(body: unknown, status: number): Fault {
  const error = field(body, 'error');
  const source = typeof error === 'object' && error !== null ? error : body;
  const code = text(source, 'code') ?? text(source, 'type') ?? `http.${status}`;
  const what = text(source, 'title') ?? text(source, 'message');
  if (what === undefined) return new Fault(code, status);
  const why = text(source, 'detail');
  const remedy = text(source, 'remedy');
  return new Fault(code, status, {
    what,
    ...(why === undefined ? {} : { why }),
    ...(remedy === undefined ? {} : { remedy }),
  });
}

export function asFault(error: unknown): Fault {
  return error instanceof Fault ? error : new Fault(consoleCodes.unreachable, 0);
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

function text(value: unknown, name: string): string | undefined {
  const found = field(value, name);
  return typeof found === 'string' && found !== '' ? found : undefined;
}
