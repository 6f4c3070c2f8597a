/** Digests (hex) of the built-in q8 model's largest files. */
export const MODEL_DIGEST = 'afdb6f1a0e45b715d0bb9b11772f032c399babd23bfc31fed1c170afc848bdb1';
export const TOKENIZER_DIGEST = 'da0e79933b9ed51798a3ae27893d3c5fa4a201126cef75586296df9b4d2c62a0';
