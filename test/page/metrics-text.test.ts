import { describe, expect, it } from 'vitest';
import { parseMetrics, quantile, totalsOf } from '../../src/page/metrics-text.js';

const NAME = 'ai_router_http_request_duration_seconds';
const TEXT = `# HELP ${NAME} Time
# TYPE ${NAME} histogram
${NAME}_bucket{le="0.01",method="POST",route="/classify",status="200"} 60
${NAME}_bucket{le="0.05",method="POST",route="/classify",status="200"} 90
${NAME}_bucket{le="+Inf",method="POST",route="/classify",status="200"} 100
${NAME}_count{method="POST",route="/classify",status="200"} 100
${NAME}_count{method="POST",route="/routes/lint",status="200"} 7
${NAME}_count{method="GET",route="/health",status="200"} 900
ai_router_decisions_total{route="say \\"hi\\", {now}"} 6
ai_router_decisions_total{route=""} 4
ai_router_truncated_texts_total 2
ai_router_inference_waiting 3
ai_router_inference_executing 1
`;

describe('metrics as the page reads them', () => {
  it('sums up what was asked of the model, whatever a route is called', () => {
    const samples = parseMetrics(TEXT);
    expect(samples.find(({ value }) => value === 6)?.labels).toEqual({ route: 'say "hi", {now}' });
    expect(totalsOf(samples)).toMatchObject({
      requests: 100,
      decisions: 10,
      abstentions: 4,
      truncated: 2,
      inFlight: 4,
    });
  });

  it('tells quantiles of the requests since the last reading', () => {
    const now = totalsOf(parseMetrics(TEXT));
    const none = totalsOf([]);
    expect(quantile(0.3, now, none)).toBeCloseTo(0.005);
    expect(quantile(0.75, now, none)).toBeCloseTo(0.03);
    // Beyond the last bound nothing more is known.
    expect(quantile(0.99, now, none)).toBe(0.05);
    expect(quantile(0.5, now, now)).toBeUndefined();
  });
});
