/**
 * Sends each prompt to the small or the large language model, as the route's metadata says (`routes/default.yaml`).
 * Whatever goes wrong on the way to that decision, the large model answers: a router must never cost an answer.
 *
 *   node examples/llm-router.mjs "translate 'good morning' into Spanish" "my program crashes, why?"
 */
import { ask } from './ask.mjs';
import { startFakeLlm } from './fake-llm.mjs';

const MODELS = {
  small: process.env.SMALL_MODEL ?? 'small-model',
  large: process.env.LARGE_MODEL ?? 'large-model',
};

const prompts = process.argv.slice(2);
if (prompts.length === 0) {
  prompts.push(
    "translate 'good morning' into Spanish",
    'why does this function throw a null pointer exception?',
    "is it legal to fell a tree on my neighbour's land?",
  );
}

const fake = process.env.LLM_BASE_URL ? undefined : await startFakeLlm();
const baseUrl = process.env.LLM_BASE_URL ?? fake.baseUrl;

for (const prompt of prompts) {
  const { route, model, why } = await choose(prompt);
  console.log(`${prompt}\n  ${route ?? 'no route'} → ${model} (${why})\n  ${await complete(model, prompt)}`);
}
fake?.close();

/** Which model is to answer, and why. */
async function choose(prompt) {
  try {
    const { route, score, route_metadata } = await ask('/classify', { text: prompt });
    const model = MODELS[route_metadata?.model] ?? MODELS.large;
    return { route, model, why: `score ${score.toFixed(2)}` };
  } catch (error) {
    return { route: null, model: MODELS.large, why: error.message };
  }
}

/** Asks a language model. */
async function complete(model, prompt) {
  const response = await fetch(`${baseUrl}/chat/completions`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      ...(process.env.LLM_API_KEY && { authorization: `Bearer ${process.env.LLM_API_KEY}` }),
    },
    body: JSON.stringify({ model, messages: [{ role: 'user', content: prompt }] }),
  });
  if (!response.ok) throw new Error(`the language model answered ${response.status}`);
  const { choices } = await response.json();
  return choices[0].message.content;
}
