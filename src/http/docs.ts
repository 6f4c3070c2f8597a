import { hash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type Router from '@koa/router';
import { viewerFile } from '../config/program-files.js';
import { AppError } from '../shared/errors.js';
import { policyOf } from './secure-headers.js';

/** The viewer's own files that the page needs; nothing else of its package is served. */
const FILES: Readonly<Record<string, string>> = {
  'swagger-ui.css': 'text/css',
  'swagger-ui-bundle.js': 'text/javascript',
};

/** The viewer sets styles while it runs and draws with `data:` images; it needs nothing from elsewhere. */
const POLICY = policyOf({
  'script-src': "'self'",
  'style-src': "'self' 'unsafe-inline'",
  'img-src': "'self' data:",
  'connect-src': "'self'",
});

const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>ai-router: HTTP reference</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="reference"></div>
<noscript>This page needs JavaScript; the contract itself is at <a href="openapi.json">openapi.json</a>.</noscript>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
`;

/** Addresses are relative, so that the page works behind a proxy that puts a prefix before it. */
const START = `SwaggerUIBundle({
  url: 'openapi.json',
  dom_id: '#reference',
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  persistAuthorization: false,
  validatorUrl: null,
});
`;

/** `GET /docs`: the contract in a viewer that comes from this program alone. Its files are read when asked for. */
export function docsRoutes(router: Router): void {
  // Served from memory: a stream for each request would hold a descriptor for clients that read nothing.
  const files = new Map<string, Promise<Buffer>>();
  router.get('/docs', (context) => {
    // With a slash at the end, the page's relative addresses would point elsewhere.
    if (context.path.endsWith('/')) return context.redirect('../docs');
    context.set({ 'Content-Security-Policy': POLICY, 'Cache-Control': 'no-cache' });
    context.type = 'text/html';
    context.body = PAGE;
  });
  router.get('/docs/start.js', (context) => {
    context.set('Cache-Control', 'no-cache');
    context.type = 'text/javascript';
    context.body = START;
  });
  router.get('/docs/:file', async (context) => {
    const name = context.params.file ?? '';
    const type = Object.hasOwn(FILES, name) ? FILES[name] : undefined;
    if (!type) throw new AppError('not_found', `there is nothing at ${context.path}`);
    let reading = files.get(name);
    if (!reading) {
      reading = readFile(viewerFile(name));
      files.set(name, reading);
      reading.catch(() => files.delete(name));
    }
    const body = await reading;
    context.set({ ETag: `"${hash('sha256', body, 'base64url')}"`, 'Cache-Control': 'public, max-age=3600' });
    context.type = type;
    context.status = 200;
    if (context.fresh) {
      context.status = 304;
      return;
    }
    context.body = body;
  });
}
