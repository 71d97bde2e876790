/** The body of a chat request from the conversation so far. Pure. */

import type { ChatMessage, ChatRequest } from '../api/types';
import type { Answer } from './answer';

export interface Turn {
  id: number;
  question: string;
  answer: Answer;
}

/** How free the model is: greedy, or sampled. */
export type Freedom = 'strict' | 'balanced' | 'free';

export interface Settings {
  model: string;
  thinks: boolean;
  freedom: Freedom;
  system: string;
  /** JSON text of a list of tools in the OpenAI form, or empty. */
  tools: string;
}

const TEMPERATURE: Record<Freedom, number> = { strict: 0, balanced: 0.6, free: 1 };

export function buildRequest(settings: Settings, earlier: readonly Turn[], question: string): ChatRequest {
  const messages: ChatMessage[] = [];
  if (settings.system.trim() !== '') messages.push({ role: 'system', content: settings.system });
  for (const turn of earlier) messages.push({ role: 'user', content: turn.question }, ...answerMessages(turn.answer));
  messages.push({ role: 'user', content: question });
  const tools = parseTools(settings.tools);
  return {
    model: settings.model,
    messages,
    stream: true,
    stream_options: { include_usage: true },
    temperature: TEMPERATURE[settings.freedom],
    chat_template_kwargs: { enable_thinking: settings.thinks },
    ...(tools === undefined || tools.length === 0 ? {} : { tools }),
  };
}

/** The list of tools, `undefined` when the text is neither empty nor a JSON list of objects. */
export function parseTools(text: string): NonNullable<ChatRequest['tools']> | undefined {
  if (text.trim() === '') return [];
  try {
    const value: unknown = JSON.parse(text);
    const isList = Array.isArray(value) && value.every((tool) => typeof tool === 'object' && tool !== null);
    return isList ? (value as NonNullable<ChatRequest['tools']>) : undefined;
  } catch {
    return undefined;
  }
}

/** Thinking is not sent back; an answer that never came leaves no message. */
function answerMessages(answer: Answer): ChatMessage[] {
  if (answer.content === '' && answer.toolCalls.length === 0) return [];
  const calls = answer.toolCalls.map((call) => ({
    id: call.id,
    type: 'function',
    function: { name: call.name, arguments: call.arguments },
  }));
  return [{ role: 'assistant', content: answer.content, ...(calls.length === 0 ? {} : { tool_calls: calls }) }];
}
