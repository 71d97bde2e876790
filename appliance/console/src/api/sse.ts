/**
 * Server-sent events from bytes, per the HTML standard, split anywhere: inside a character, a line end or a field.
 * Comments (keep-alive, places in the queue) go to whoever asked for them; fields other than `data` and `event` are
 * skipped.
 */

export interface StreamEvent {
  event: string;
  data: string;
}

/** Most characters of one event; a peer that sends more is broken. */
export const EVENT_CHARS_MAX = 4 * 1024 * 1024;

export class EventParser {
  private readonly decoder = new TextDecoder('utf-8');
  private line = '';
  private data: string[] = [];
  private event = '';
  private size = 0;
  private afterReturn = false;
  private readonly onComment: (text: string) => void;

  constructor(onComment: (text: string) => void = () => undefined) {
    this.onComment = onComment;
  }

  /** Takes the next bytes and gives the events that they complete. */
  push(bytes: Uint8Array): StreamEvent[] {
    const events: StreamEvent[] = [];
    const text = this.decoder.decode(bytes, { stream: true });
    let start = 0;
    for (let at = 0; at < text.length; at += 1) {
      const character = text[at];
      if (character !== '\n' && character !== '\r') continue;
      if (character === '\n' && this.afterReturn && at === start && this.line === '') {
        // Second half of a CRLF: its line has ended already.
        this.afterReturn = false;
        start = at + 1;
        continue;
      }
      this.afterReturn = character === '\r';
      this.grow(text.slice(start, at));
      this.endLine(events);
      start = at + 1;
    }
    if (start < text.length) {
      this.afterReturn = false;
      this.grow(text.slice(start));
    }
    return events;
  }

  private grow(part: string): void {
    this.size += part.length;
    if (this.size > EVENT_CHARS_MAX) throw new RangeError('an event of the stream is too long');
    this.line += part;
  }

  private endLine(events: StreamEvent[]): void {
    const line = this.line;
    this.line = '';
    if (line === '') {
      if (this.data.length > 0) events.push({ event: this.event, data: this.data.join('\n') });
      this.data = [];
      this.event = '';
      this.size = 0;
      return;
    }
    const colon = line.indexOf(':');
    if (colon === 0) {
      this.size -= line.length;
      this.onComment(line.slice(1).trim());
      return;
    }
    const name = colon < 0 ? line : line.slice(0, colon);
    const rest = colon < 0 ? '' : line.slice(colon + 1);
    const value = rest.startsWith(' ') ? rest.slice(1) : rest;
    if (name === 'data') this.data.push(value);
    else if (name === 'event') this.event = value;
  }
}
