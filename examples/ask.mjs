/** What the examples share: one request to the daemon. */

const URL_OF_DAEMON = process.env.AI_ROUTER_URL ?? 'http://localhost:3000';
const ATTEMPTS = 3;

/**
 * Posts to the daemon. While it is busy or starting (503) it is asked again, when it says so.
 * @param {string} path
 * @param {object} body
 * @param {AbortSignal} [signal]
 */
export async function ask(path, body, signal = AbortSignal.timeout(30_000)) {
  for (let attempt = 1; ; attempt += 1) {
    const response = await fetch(URL_OF_DAEMON + path, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal,
    }).catch((cause) => {
      if (signal.aborted) throw cause;
      throw new Error(`no ai-router at ${URL_OF_DAEMON} (AI_ROUTER_URL): start one with npm start`, {
        cause,
      });
    });
    const answer = await response.json();
    if (response.ok) return answer;
    if (response.status !== 503 || attempt === ATTEMPTS) {
      throw new Error(`${path} answered ${response.status}: ${answer.detail}`);
    }
    const seconds = Number(response.headers.get('retry-after') ?? 1);
    await new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
  }
}
