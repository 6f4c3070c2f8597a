/**
 * Distributes tickets to teams. The categories come with the request (`labels`), so that this desk needs nothing of
 * the daemon's own routes; a desk that has a daemon to itself starts it with `ROUTES_FILE=routes/support-desk.yaml`,
 * and then asks without them. A ticket that is unclear goes to a person: a wrong team costs more than a look.
 *
 *   node examples/support-desk.mjs < tickets.txt      (one ticket a line)
 */
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { ask } from './ask.mjs';

const SURE = 0.6;

const { routes } = parse(readFileSync(new URL('../routes/support-desk.yaml', import.meta.url), 'utf8'));
const teams = new Map(routes.map(({ name, metadata }) => [name, metadata]));

const given = process.stdin.isTTY ? '' : readFileSync(0, 'utf8');
const tickets = given.split('\n').filter((line) => line.trim() !== '');
if (tickets.length === 0) {
  tickets.push(
    'I paid by credit card and the money was taken two times',
    'tracking has not moved for a week, where is my parcel?',
    'these boots pinch, can I send them back?',
    'quack quack quack',
  );
}

const { results } = await ask('/classify/batch', {
  texts: tickets,
  labels: routes.map(({ name, utterances }) => ({ name, utterances })),
  threshold: SURE,
}).catch((error) => {
  console.error(error.message);
  process.exit(1);
});

for (const [index, { route, score, candidates }] of results.entries()) {
  const team = teams.get(route);
  const where = team
    ? `${team.queue}, answer within ${team.sla_hours} h`
    : `a person (perhaps ${candidates[0].route}?)`;
  console.log(`${score.toFixed(2)}  ${tickets[index]}\n      → ${where}`);
}
