// The figures of the pages, from the real binary in a real browser: `node e2e/measure.mjs` on a quiet machine. Prints medians.
import { resolve } from 'node:path';
import { chromium } from 'playwright-core';
import { start } from './server.mjs';
import { answer, manySeries, manyTargets } from './synthetic.mjs';

const ROUNDS = 5;
/** How much slower than this machine's the processor is made. */
const THROTTLE = 4;
const median = numbers => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
const say = (what, ms) => process.stdout.write(`${what}: ${ms.toFixed(0)} ms\n`);

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox'],
});
const server = await start(resolve(process.env.NARTHEX ?? '../target/debug/narthex'), ['demo']);

async function fresh(throttle = 1) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  const page = await context.newPage();
  const devtools = await context.newCDPSession(page);
  await devtools.send('Emulation.setCPUThrottlingRate', { rate: throttle });
  return page;
}

/** From the request to the first drawing, and to an editor that takes keys. */
async function firstLoad() {
  const [paints, edits] = [[], []];
  for (let round = 0; round < ROUNDS; round++) {
    const page = await fresh(THROTTLE);
    await page.goto(`${server.url}/query`);
    await page.getByRole('heading', { name: 'Explore' }).waitFor();
    paints.push(
      await page.evaluate(() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0),
    );
    await page.locator('[aria-label="PromQL expression"]').first().waitFor();
    edits.push(await page.evaluate(() => performance.now()));
    await page.context().close();
  }
  say(`first paint, processor ${THROTTLE} times slower`, median(paints));
  say(`the query can be written, processor ${THROTTLE} times slower`, median(edits));
}

/** From an answer that is there to lines on the screen. */
async function drawing(count) {
  const all = [];
  for (let round = 0; round < ROUNDS; round++) {
    const page = await fresh();
    let sent = 0;
    await answer(page, 'query_range', parameters => {
      sent = performance.now();
      return manySeries(count, parameters);
    });
    await page.goto(
      `${server.url}/query?g0.expr=synthetic&g0.tab=graph&g0.range_input=1000s&g0.res_type=fixed&g0.res_step=1`,
    );
    await page.locator('figure canvas').waitFor();
    await page.evaluate(() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done))));
    // With the way of the answer, which is made and sent meanwhile.
    all.push(performance.now() - sent);
    await page.context().close();
  }
  say(`${count} series of 1,000 points, from the question to lines`, median(all));
}

/** Longest time between two frames while ten thousand rows go by. */
async function scrolling() {
  const page = await fresh();
  await answer(page, 'targets', () => manyTargets(10_000));
  await page.goto(`${server.url}/targets`);
  await page.getByRole('table', { name: 'Targets' }).waitFor();
  const gaps = await page.evaluate(async () => {
    const main = document.querySelector('main');
    const found = [];
    let before = performance.now();
    for (let at = 0; at < 120; at++) {
      main.scrollTop += 1500;
      await new Promise(requestAnimationFrame);
      const now = performance.now();
      found.push(now - before);
      before = now;
    }
    return found.sort((a, b) => a - b);
  });
  say('10,000 targets, between two frames of a scroll, median', gaps[60]);
  say('10,000 targets, between two frames of a scroll, worst of twenty', gaps[114]);
  await page.context().close();
}

try {
  await firstLoad();
  await drawing(50);
  await drawing(500);
  await scrolling();
} finally {
  await browser.close();
  await server.stop();
}
