import * as z from 'zod';

/** Most messages of one conversation. */
const MAX_MESSAGES = 2_000;

const ROLES = ['system', 'developer', 'user', 'assistant', 'tool', 'function'] as const;
/** Parts with text, of the APIs for chats and for responses. */
const TEXT_PARTS = ['text', 'input_text', 'output_text'] as const;
/** Parts that agents pass on from other vendors' APIs; their content is not read. */
const TOOL_PARTS = ['tool_use', 'tool_result', 'thinking', 'redacted_thinking'] as const;
const OTHER_MEDIA: Readonly<Record<string, string>> = {
  image: 'images',
  image_url: 'images',
  input_image: 'images',
  input_audio: 'audio',
  file: 'files',
  input_file: 'files',
  video_url: 'videos',
};

/** Returns what is wrong with a part that holds no text, in plain words. */
export function mediaFault(part: unknown): string | undefined {
  if (typeof part !== 'object' || part === null || !('type' in part)) return undefined;
  const media = OTHER_MEDIA[String(part.type)];
  return media && `this model reads text only; send no ${media}`;
}

const part = z.discriminatedUnion(
  'type',
  [
    z.object({ type: z.enum(TEXT_PARTS), text: z.string() }),
    z.object({ type: z.literal('refusal'), refusal: z.string() }),
    z.object({ type: z.enum(TOOL_PARTS) }),
  ],
  {
    error: ({ input }) =>
      mediaFault(input) ?? `must be a part with text, such as {"type": "text", "text": "…"}`,
  },
);

const message = z.object({
  role: z.enum(ROLES, `must be one of ${ROLES.join(', ')}`),
  content: z
    .union([z.string(), z.array(part)], {
      error: ({ input }) =>
        Array.isArray(input)
          ? (input.map(mediaFault).find((fault) => fault !== undefined) ??
            'must be a list of parts with text, such as {"type": "text", "text": "…"}')
          : 'must be a text or a list of parts',
    })
    .nullable()
    .exactOptional(),
});

/** A conversation in OpenAI's chat format. Further fields of a message (names, calls of tools) are ignored. */
export const messages = z
  .array(message)
  .min(1, 'must hold at least one message')
  .max(MAX_MESSAGES, `may hold ${MAX_MESSAGES} messages at most`)
  .meta({
    id: 'Messages',
    description:
      'Instead of `text`: a conversation in the format of chat APIs. The last turn of the user decides; see docs/decisions.md',
  });
