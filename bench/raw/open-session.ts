import type { InferenceSession } from 'onnxruntime-node';
import type { Runtime } from './runtime.js';

/**
 * Opens a session from a buffer with options that really apply.
 *
 * Version 1.14 takes them from its native `loadModel`'s second argument, which is a path's options but a buffer's
 * byte offset: with a buffer it runs on every core, whatever the options say. It asks that number for properties
 * as it would ask an object, so for as long as it is asked, numbers have them.
 */
export async function openSession(
  ort: Runtime,
  model: Uint8Array,
  options: InferenceSession.SessionOptions,
): Promise<InferenceSession> {
  const names = Object.keys(options);
  for (const name of names) {
    const value: unknown = options[name as keyof typeof options];
    Object.defineProperty(Number.prototype, name, { value, configurable: true });
  }
  try {
    return await ort.InferenceSession.create(model, options);
  } finally {
    for (const name of names) Reflect.deleteProperty(Number.prototype, name);
  }
}
