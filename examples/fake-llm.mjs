/** A language model for trying things out: speaks OpenAI's chat completions, and has nothing to say. */
import { once } from 'node:events';
import { createServer } from 'node:http';

/** Starts it on a free port. */
export async function startFakeLlm() {
  const server = createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    if (request.method !== 'POST' || request.url !== '/v1/chat/completions') {
      response.writeHead(404).end();
      return;
    }
    const { model, messages } = JSON.parse(Buffer.concat(chunks).toString());
    const content = `(${model} would answer ${messages.at(-1).content.length} characters now)`;
    response.writeHead(200, { 'content-type': 'application/json' }).end(
      JSON.stringify({
        id: 'chatcmpl-fake',
        object: 'chat.completion',
        created: 0,
        model,
        choices: [{ index: 0, finish_reason: 'stop', message: { role: 'assistant', content } }],
      }),
    );
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    baseUrl: `http://127.0.0.1:${server.address().port}/v1`,
    close: () => server.close(),
  };
}
