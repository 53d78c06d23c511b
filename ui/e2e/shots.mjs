// Pictures of every page in both themes, wide and narrow: `node e2e/shots.mjs FOLDER [part of a name]`, after a minute of a
// running demo at NARTHEX_URL (or one that is started).
import { mkdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { chromium } from 'playwright-core';
import { PAGES } from './tests.mjs';

const [folder = '/tmp/shots', only = ''] = process.argv.slice(2);
const url = process.env.NARTHEX_URL ?? 'http://127.0.0.1:9090';
mkdirSync(folder, { recursive: true });
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox'],
});
for (const theme of ['light', 'dark']) {
  for (const [width, height] of [
    [1440, 900],
    [360, 780],
  ]) {
    const context = await browser.newContext({
      viewport: { width, height },
      colorScheme: theme,
      deviceScaleFactor: 1,
      hasTouch: width < 640,
      timezoneId: 'Europe/Berlin',
    });
    const page = await context.newPage();
    for (const [path, sign] of PAGES) {
      const name = `${path
        .replace(/^\//, '')
        .replace(/[^\w]+/g, '-')
        .slice(0, 40)}-${theme}-${width}`;
      if (!name.includes(only)) continue;
      await page.goto(url + path);
      await page
        .locator(`main ${sign}`)
        .first()
        .waitFor({ timeout: 10_000 })
        .catch(() => {});
      await wait(700);
      await page.screenshot({ path: resolve(folder, `${name}.png`) });
    }
    await context.close();
  }
}
await browser.close();
