// Answers of servers larger than one that a test can start.

/** So many targets, every hundredth of them down for one of two reasons. */
export function manyTargets(count) {
  const activeTargets = Array.from({ length: count }, (_, index) => {
    const [job, instance] = [`job-${index % 40}`, `10.0.${index >> 8}.${index & 255}:9100`];
    const isDown = index % 100 === 7;
    const lastError = !isDown
      ? ''
      : index % 200 === 7
        ? `Get "http://${instance}/metrics": connect: connection refused`
        : 'context deadline exceeded';
    return {
      discoveredLabels: { __address__: instance, job },
      labels: { instance, job, env: index % 3 === 0 ? 'prod' : 'test' },
      scrapePool: job,
      scrapeUrl: `http://${instance}/metrics`,
      globalUrl: `http://${instance}/metrics`,
      lastError,
      lastScrape: new Date(Date.now() - (index % 15) * 1000).toISOString(),
      lastScrapeDuration: 0.01 + (index % 50) / 1000,
      health: isDown ? 'down' : 'up',
      scrapeInterval: '15s',
      scrapeTimeout: '10s',
    };
  });
  return { status: 'success', data: { activeTargets, droppedTargets: [], droppedTargetCounts: {} } };
}

/** So many series on the grid that a request of a range asks for. */
export function manySeries(count, parameters) {
  const [start, end, step] = ['start', 'end', 'step'].map(name => Number(parameters.get(name)));
  const result = Array.from({ length: count }, (_, index) => {
    const values = [];
    for (let at = start; at <= end; at += step)
      values.push([
        at,
        String(Math.round(1e4 * (index + Math.sin((at / 600) * (1 + (index % 7))) * 3)) / 1e4),
      ]);
    return { metric: { __name__: 'synthetic', instance: `i-${index}` }, values };
  });
  return { status: 'success', data: { resultType: 'matrix', result, stats: {} } };
}

/** Answers requests of a page to a path with what `make` makes of their parameters. */
export async function answer(page, path, make) {
  await page.route(new RegExp(`/api/v1/${path}(\\?|$)`), route => {
    const request = route.request();
    const parameters = new URLSearchParams(request.postData() ?? new URL(request.url()).search);
    return route.fulfill({ json: make(parameters) });
  });
}
