/**
 * The part of the library's tokenizer module that this program uses. The module ships without types beside
 * it; importing the package's main entry instead would pull in sharp and every model class.
 */
declare module '@xenova/transformers/src/tokenizers.js' {
  export class PreTrainedTokenizer {
    constructor(tokenizer: unknown, config: unknown);
    normalizer: ((text: string) => string) | null;
    readonly model: {
      readonly tokens_to_ids: Map<string, number>;
      readonly unk_token: string | undefined;
      unk_token_id: number | undefined;
      encode(words: readonly string[]): string[];
    };
    readonly pad_token: string | null | undefined;
    encode(text: string, pair: null, options: { add_special_tokens: boolean }): number[];
  }
}
