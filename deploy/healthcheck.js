// HEALTHCHECK of the image, which has no curl: ends with 0 when GET /health of the daemon beside it answers 200.
import { get } from 'node:http';

const { HOST, PORT } = process.env;
const host = !HOST || HOST === '::' || HOST === '0.0.0.0' ? 'localhost' : HOST;
get({ host, port: PORT || 3000, path: '/health', timeout: 4_000 }, ({ statusCode }) => {
  process.exit(statusCode === 200 ? 0 : 1);
})
  .on('timeout', () => process.exit(1))
  .on('error', () => process.exit(1));
