import type { JsonValue } from '../api/schema.js';

/*
 * Rules by which the text of a conversation is found. The last turn of the user decides; what agents wrap around it is
 * dropped, unless nothing else is left.
 */

/** One turn. */
export interface Message {
  readonly role: string;
  /** Its text, or parts of it. */
  readonly content: JsonValue;
}

/** Elements that agents add to a turn: reminders, results of tools, the files that are open. */
const WRAPPERS = new Set(
  (
    'system-reminder system_reminder tool_result tool-result function_results environment_details environment_context ' +
    'context document documents file files file_content file_contents attached_file attached_files attachment attachments ' +
    'instructions'
  ).split(' '),
);
const TAG = /<(\/?)([a-z][\w-]*)[^<>]*>/gi;

/** Drops those elements in one pass. An element that is never closed is text. */
function withoutWrappers(text: string): string {
  const tags = [...text.matchAll(TAG)]
    .map(({ 0: tag, 1: slash, 2: name = '', index }) => ({
      name: name.toLowerCase(),
      closes: slash === '/',
      start: index,
      end: index + tag.length,
    }))
    .filter(({ name }) => WRAPPERS.has(name));
  const lastClose = new Map(tags.filter(({ closes }) => closes).map(({ name, start }) => [name, start]));
  let bare = '';
  let from = 0;
  let open: string | undefined;
  for (const { name, closes, start, end } of tags) {
    if (open === undefined) {
      if (closes || (lastClose.get(name) ?? -1) < start) continue;
      bare += `${text.slice(from, start)} `;
      open = name;
    } else if (closes && name === open) {
      from = end;
      open = undefined;
    }
  }
  return bare + text.slice(from);
}

/** Text of a part: what a person wrote, and no result of a tool. */
const TOOL_PARTS = new Set([
  'tool_result',
  'tool-result',
  'function_call_output',
  'image_url',
  'input_image',
]);

/** Returns the text of the last turn of the user that says something; undefined where there is none. */
export function textOfMessages(messages: readonly Message[]): string | undefined {
  for (const { role, content } of messages.toReversed()) {
    if (role !== 'user' && role !== 'human') continue;
    const text = textOfContent(content);
    if (text === '') continue;
    const bare = withoutWrappers(text).trim();
    return bare === '' ? text : bare;
  }
  return undefined;
}

function textOfContent(content: JsonValue): string {
  if (typeof content === 'string') return content.trim();
  if (!Array.isArray(content)) return stringsOf(content).join('\n').trim();
  return content
    .flatMap((part: JsonValue) => {
      if (!isObject(part)) return stringsOf(part);
      const { type, ...fields } = part;
      return typeof type === 'string' && TOOL_PARTS.has(type) ? [] : stringsOf(fields);
    })
    .join('\n')
    .trim();
}

/** Line of LiteLLM's Auto Router. The request to be classified follows it; before it stand system prompt and history. */
const LITELLM_ASK = '\nClassify this message:\n';

/**
 * Returns the text of a state: a conversation's, or else its strings in the order in which they stand, one a line. Keys and
 * numbers are no text.
 */
export function textOfState(state: JsonValue): string {
  if (typeof state === 'string') {
    // What is before the request would fill all that the model reads.
    const [ask = ''] = state.split(LITELLM_ASK).slice(1).slice(-1);
    return ask.trim() === '' ? state : ask;
  }
  if (Array.isArray(state) && state.length > 0 && state.every(isMessage)) {
    return textOfMessages(state) ?? '';
  }
  return stringsOf(state).join('\n');
}

/** Returns the strings of a JSON value, depth first. */
export function stringsOf(value: JsonValue): string[] {
  if (typeof value === 'string') return value.trim() === '' ? [] : [value];
  if (typeof value !== 'object' || value === null) return [];
  return Object.values(value).flatMap(stringsOf);
}

function isObject(value: JsonValue): value is { readonly [key: string]: JsonValue } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isMessage(value: JsonValue): value is { readonly role: string; readonly content: JsonValue } {
  return isObject(value) && typeof value.role === 'string' && 'content' in value;
}
