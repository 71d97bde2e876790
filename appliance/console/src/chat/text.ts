/**
 * Model output as text. Nothing of it is ever markup: fenced blocks are set in code type, all else keeps its lines.
 * Also cuts growing text into sentences, for readers of the screen who hear it.
 */

export interface TextPiece {
  kind: 'text' | 'code';
  /** Word after the opening fence, for code. */
  language: string;
  text: string;
}

/** Splits at fences of three or more backticks. A fence that is still open, as in a stream, runs to the end. */
export function splitFences(source: string): TextPiece[] {
  const pieces: TextPiece[] = [];
  let open: { fence: string; language: string } | undefined;
  let lines: string[] = [];
  const flush = () => {
    const text = lines.join('\n');
    lines = [];
    if (open !== undefined) pieces.push({ kind: 'code', language: open.language, text });
    else if (text.trim() !== '') pieces.push({ kind: 'text', language: '', text: text.replace(/^\n+|\n+$/g, '') });
  };
  for (const line of source.split('\n')) {
    const mark = /^ {0,3}(`{3,})([^`]*)$/.exec(line);
    if (open === undefined && mark !== null) {
      flush();
      open = { fence: mark[1] ?? '```', language: (mark[2] ?? '').trim() };
    } else if (open !== undefined && mark !== null && (mark[1] ?? '').length >= open.fence.length && (mark[2] ?? '').trim() === '') {
      flush();
      open = undefined;
    } else {
      lines.push(line);
    }
  }
  if (open !== undefined || lines.length > 0) flush();
  return pieces;
}

const SENTENCE_END = /[。！？!?；;\n]+["”’）)]*|\.+["”’)]*(?=\s)/g;

/** Index just after the last whole sentence of `text` from `from` on; `from` itself when none has ended. */
export function sentenceEnd(text: string, from: number): number {
  let end = from;
  SENTENCE_END.lastIndex = from;
  for (let match = SENTENCE_END.exec(text); match !== null; match = SENTENCE_END.exec(text)) {
    end = match.index + match[0].length;
  }
  return end;
}

/** Arguments of a tool call as rows. Text that is not (yet) a JSON object is one row without a name. */
export function argumentRows(json: string): { name: string; value: string }[] {
  try {
    const value: unknown = JSON.parse(json);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      return Object.entries(value).map(([name, entry]) => ({ name, value: typeof entry === 'string' ? entry : JSON.stringify(entry) }));
    }
  } catch {
    // Still arriving, or not JSON: shown as it is.
  }
  return json === '' ? [] : [{ name: '', value: json }];
}
