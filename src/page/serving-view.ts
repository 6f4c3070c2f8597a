import { byId, el, fill, whenChanged } from './dom.js';
import { fact } from './fact.js';
import { plural } from './format.js';
import type { CacheStatus, RouteSet } from './wire.js';

/** Shows which model and which routes answer. */
export const showServing = whenChanged(
  ({ model, routes }: { model: CacheStatus['manifest'] | undefined; routes: RouteSet | undefined }) => {
    fill(
      byId('serving-facts'),
      ...(model
        ? [
            fact('Model', `${model.id} · ${model.variant}`, 'whole'),
            fact('Revision', el('code', { title: model.revision }, model.revision)),
            fact('Model digest', el('code', { title: model.digest }, model.digest)),
          ]
        : []),
      ...(routes
        ? [
            fact(
              'Routes',
              `${plural(routes.routes.length, 'route')}, ${plural(routes.utterances, 'utterance')}`,
            ),
            fact('Routes digest', el('code', { title: routes.digest }, routes.digest)),
          ]
        : [fact('Routes', 'none yet: they follow the model')]),
    );
  },
);
