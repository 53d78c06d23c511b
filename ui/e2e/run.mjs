// Tests in a real browser against the real server. `npm run e2e` runs all, `npm run e2e -- axe` those whose name holds "axe".
// They need chromium and a binary (NARTHEX, or target/debug/narthex); what is missing is said, and is an error where
// NARTHEX_REQUIRE names it.
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { chromium } from 'playwright-core';
import { start } from './server.mjs';
import { TESTS } from './tests.mjs';

const required = (process.env.NARTHEX_REQUIRE ?? '').split(',');
const program = resolve(process.env.NARTHEX ?? '../target/debug/narthex');
const browserPath = process.env.CHROMIUM ?? '/usr/bin/chromium';

for (const [name, path] of [
  ['chromium', browserPath],
  ['narthex', program],
]) {
  if (existsSync(path)) continue;
  process.stderr.write(`SKIPPED: tests in a browser need ${name}, and there is nothing at ${path}\n`);
  process.exit(required.includes(name) || required.includes('all') ? 1 : 0);
}

const wanted = process.argv.slice(2);
const tests = TESTS.filter(({ name }) => wanted.length === 0 || wanted.some(word => name.includes(word)));
const browser = await chromium.launch({
  executablePath: browserPath,
  args: ['--no-sandbox', '--disable-dev-shm-usage'],
});
const demo = await start(program, ['demo']);
let failed = 0;
try {
  for (const test of tests) {
    const begin = Date.now();
    const context = await browser.newContext({
      viewport: { width: 1440, height: 900 },
      timezoneId: 'Europe/Berlin',
      ...test.context,
    });
    const page = await context.newPage();
    page.setDefaultTimeout(15_000);
    // What the policy refuses, and what a page throws, is a failure of any test.
    const troubles = [];
    page.on('pageerror', error => troubles.push(`page: ${error.message}`));
    page.on(
      'console',
      message =>
        message.type() === 'error' &&
        !/Failed to load resource/.test(message.text()) &&
        troubles.push(`console: ${message.text()}`),
    );
    page.on(
      'request',
      request =>
        request.url().startsWith('http') &&
        !request.url().startsWith('http://127.0.0.1:') &&
        troubles.push(`asks elsewhere: ${request.url()}`),
    );
    try {
      await test.run({ page, url: demo.url, program });
      if (troubles.length > 0) throw new Error(troubles.join('\n'));
      process.stdout.write(`ok      ${test.name} (${Date.now() - begin} ms)\n`);
    } catch (error) {
      failed += 1;
      process.stdout.write(`FAILED  ${test.name}\n${error.stack}\n${troubles.join('\n')}\n`);
    }
    await context.close();
  }
} finally {
  await browser.close();
  await demo.stop();
}
process.stdout.write(`${tests.length - failed} passed, ${failed} failed\n`);
if (failed > 0) process.exitCode = 1;
