/**
 * Does something again and again while somebody looks at the page.
 * @param work returns how long to wait until the next time, in milliseconds
 * @returns does it at once
 */
export function poll(work: () => Promise<number>): () => void {
  let timer = 0;
  let running = false;
  const run = async (): Promise<void> => {
    if (running || document.hidden) return;
    running = true;
    window.clearTimeout(timer);
    const waitMs = await work().catch(() => 2_000);
    running = false;
    if (!document.hidden) timer = window.setTimeout(run, waitMs);
  };
  document.addEventListener('visibilitychange', () => {
    window.clearTimeout(timer);
    void run();
  });
  void run();
  return () => void run();
}
