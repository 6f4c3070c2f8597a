import type { JsonValue } from '../api/schema.js';
import type { Embedding } from '../inference/embedder.js';

/*
 * Rules by which the text of a conversation is found: docs/decisions.md lists them. The last turn of a person decides; what
 * agents wrap around it is dropped, unless nothing else is left.
 */

/** One message of a conversation. */
export interface Message {
  readonly role: string;
  /** Its text, or parts of it. */
  readonly content?: JsonValue | undefined;
}

/** A turn of the user. */
export interface Turn {
  /** Index of the message. */
  readonly message: number;
  /** Its text without wrappers. */
  readonly text: string;
}

/** Elements that agents add to a turn, in lower case and with `_` for `-`: reminders, results of tools, files that are open. */
const WRAPPERS = new Set(
  (
    'system_reminder reminder user_reminder reminderinstructions instructions user_instructions rules user_rules ' +
    'tool_result tool_results tool_output tool_use_error function_result function_results local_command_stdout ' +
    'command_name command_message environment_details environment_context environment_info workspace_info user_info ' +
    'context additional_data editorcontext ide_selection ide_opened_file project_layout git_status search_results ' +
    'document documents file files file_content file_contents attached_file attached_files attachment attachments'
  ).split(' '),
);

/** Elements that agents put around what the person wrote: where there is one, all else is theirs. */
const SPOKEN = new Set('user_query user_request userrequest user_message task'.split(' '));

/** The name ends where its letters do: tried from each of them, a name of a million letters took minutes. */
const TAG = /<(\/?)([a-z][\w-]*)(?![\w-])[^<>]*>/gi;

/** A turn with more tags than this is a text about them; to look at each of a million would hold up others. */
const MAX_TAGS = 10_000;

/** The tag of an element. */
interface Tag {
  readonly name: string;
  readonly closes: boolean;
  readonly start: number;
  readonly end: number;
}

function tagsOf(text: string, names: ReadonlySet<string>): readonly Tag[] {
  const tags: Tag[] = [];
  let seen = 0;
  for (const { 0: tag, 1: slash, 2: written = '', index } of text.matchAll(TAG)) {
    seen += 1;
    if (seen > MAX_TAGS) return [];
    const name = written.toLowerCase().replaceAll('-', '_');
    if (names.has(name)) tags.push({ name, closes: slash === '/', start: index, end: index + tag.length });
  }
  return tags;
}

/** An element in a text. */
interface Element {
  readonly start: number;
  readonly end: number;
  readonly inner: string;
}

/** Finds the outermost elements of these names, in one pass. An element that is never closed is text. */
function elementsOf(text: string, names: ReadonlySet<string>): Element[] {
  const tags = tagsOf(text, names);
  const lastClose = new Map(tags.filter(({ closes }) => closes).map(({ name, start }) => [name, start]));
  const found: Element[] = [];
  let open: Tag | undefined;
  let depth = 0;
  for (const tag of tags) {
    if (open === undefined) {
      if (tag.closes || (lastClose.get(tag.name) ?? -1) < tag.start) continue;
      open = tag;
      depth = 1;
    } else if (tag.name === open.name) {
      depth += tag.closes ? -1 : 1;
      if (depth > 0 && lastClose.get(tag.name) !== tag.start) continue;
      found.push({ start: open.start, end: tag.end, inner: text.slice(open.end, tag.start) });
      open = undefined;
    }
  }
  return found;
}

/** A fence whose label is a path or a range of lines quotes a file; one that names a language is the person's own. */
const FILE_FENCE = /^\s*(```+|~~~+)\s*(?:[^\s`]*[/\\][^\s`]*|[\w-]+\.[a-z]\w{0,9}|\d+:\d+:\S+)\s*$/i;

function withoutQuotedFiles(text: string): string {
  if (!text.includes('```') && !text.includes('~~~')) return text;
  const kept: string[] = [];
  let fence: string | undefined;
  for (const line of text.split('\n')) {
    if (fence === undefined) {
      fence = line.length > 1_000 ? undefined : FILE_FENCE.exec(line)?.[1];
      if (fence === undefined) kept.push(line);
    } else if (line.trim() === fence) fence = undefined;
  }
  // One that is never closed is text.
  return fence === undefined ? kept.join('\n') : text;
}

/** Returns what a person wrote of a turn; empty where agents wrote all of it. */
function withoutWrappers(turn: string): string {
  const spoken = elementsOf(turn, SPOKEN);
  const text = spoken.length > 0 ? spoken.map(({ inner }) => inner).join('\n') : turn;
  let bare = '';
  let from = 0;
  for (const { start, end } of elementsOf(text, WRAPPERS)) {
    bare += `${text.slice(from, start)} `;
    from = end;
  }
  return withoutQuotedFiles(bare + text.slice(from)).trim();
}

/** Parts that hold no text of the person. */
const OTHER_PARTS = new Set(
  'tool_result tool-result function_call_output image_url input_image input_audio file input_file refusal'.split(
    ' ',
  ),
);

/**
 * Returns the last turn of a person and, where there is one, the turn before it. A turn that is nothing but wrappers is passed
 * over, unless there is no other. Empty where no person said anything.
 */
export function turnsOf(messages: readonly Message[]): readonly Turn[] {
  const turns: Turn[] = [];
  let wrapped: Turn | undefined;
  for (let message = messages.length - 1; message >= 0 && turns.length < 2; message -= 1) {
    const { role, content = null } = messages[message] as Message;
    if (role !== 'user' && role !== 'human') continue;
    const whole = textOfContent(content);
    if (whole === '') continue;
    const text = withoutWrappers(whole);
    if (text === '') wrapped ??= { message, text: whole };
    else turns.push({ message, text });
  }
  return turns.length === 0 && wrapped ? [wrapped] : turns;
}

function textOfContent(content: JsonValue): string {
  if (typeof content === 'string') return content.trim();
  if (!Array.isArray(content)) return stringsOf(content).join('\n').trim();
  return content
    .flatMap((part: JsonValue) => {
      if (!isObject(part)) return stringsOf(part);
      const { type, ...fields } = part;
      if (typeof type === 'string' && OTHER_PARTS.has(type)) return [];
      // The other fields of a text part are annotations, such as cache_control.
      return stringsOf(typeof fields.text === 'string' ? fields.text : fields);
    })
    .join('\n')
    .trim();
}

/** Line of LiteLLM's Auto Router. The request to be classified follows it; before it stand system prompt and history. */
const LITELLM_ASK = '\nClassify this message:\n';

/** Returns the turns of a state: a conversation's, or else its strings in the order in which they stand, one a line. */
export function turnsOfState(state: JsonValue): readonly Turn[] {
  const messages = messagesOf(state);
  if (messages) return turnsOf(messages);
  const text = stringsOf(state).join('\n');
  // What is before the request would fill all that the model reads.
  const ask = text.lastIndexOf(LITELLM_ASK);
  const asked = ask === -1 ? '' : text.slice(ask + LITELLM_ASK.length);
  return text === '' ? [] : [{ message: 0, text: asked.trim() === '' ? text : asked }];
}

/** Returns the strings of a JSON value, depth first. Keys and numbers are no text. */
export function stringsOf(value: JsonValue): string[] {
  if (typeof value === 'string') return value.trim() === '' ? [] : [value];
  if (typeof value !== 'object' || value === null) return [];
  return Object.values(value).flatMap(stringsOf);
}

function isObject(value: JsonValue): value is { readonly [key: string]: JsonValue } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Returns the messages of a state that is a list of them. */
export function messagesOf(state: JsonValue): readonly Message[] | undefined {
  return Array.isArray(state) && state.length > 0 && state.every(isMessage) ? state : undefined;
}

function isMessage(value: JsonValue): value is { readonly role: string; readonly content: JsonValue } {
  return isObject(value) && typeof value.role === 'string' && 'content' in value;
}

/**
 * Share of the previous turn where the last one alone reaches no threshold, and the most words that the last one may have to
 * depend on it: longer ones speak for themselves, and many are about something else. Chosen on one half of
 * bench/routing/dialogues.json, where 35 of 47 dialogues are right with them and 28 without; of the other 46, 35 and 24
 * (`npm run bench:routing`).
 */
export const PREVIOUS_SHARE = 0.3;
const DEPENDENT_WORDS = 5;

/** Whether there is a previous turn that can help: what the model cannot read stays undecided. */
export function canBlend(
  { legibility }: Embedding,
  text: string,
  previous: string | undefined,
): previous is string {
  if (previous === undefined || previous === text || legibility === 'illegible') return false;
  return text.trim().split(/\s+/, DEPENDENT_WORDS + 1).length <= DEPENDENT_WORDS;
}

/** Returns both turns as one text; undefined where the model cannot read the previous one. */
export function blended(last: Embedding, previous: Embedding, share = PREVIOUS_SHARE): Embedding | undefined {
  if (previous.legibility !== 'legible') return undefined;
  const sum = last.vector.map((value, index) => (1 - share) * value + share * (previous.vector[index] ?? 0));
  const length = Math.hypot(...sum);
  return {
    ...last,
    vector: sum.map((value) => value / length),
    tokens: last.tokens + previous.tokens,
    truncatedTokens: last.truncatedTokens + previous.truncatedTokens,
  };
}
