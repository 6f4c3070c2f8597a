import { json } from 'node:stream/consumers';
import Koa from 'koa';

/** Serves `POST /classify` as one writes it in an afternoon, at `PORT`, until the parent process goes. */
export function servePlainly(answer: (text: string) => Promise<object>): void {
  const app = new Koa();
  app.use(async (context) => {
    if (context.path === '/health') {
      context.body = { status: 'ready' };
      return;
    }
    const { text } = (await json(context.req)) as { text: string };
    context.body = await answer(text);
  });
  const server = app.listen(Number(process.env.PORT), '127.0.0.1', () => process.send?.('ready'));
  process.on('disconnect', () => server.close(() => process.exit(0)));
}
