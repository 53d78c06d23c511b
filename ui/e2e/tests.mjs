// What a reader does, in a real browser against a real server.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { start, until } from './server.mjs';
import { answer, manySeries, manyTargets } from './synthetic.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** A page of every kind, with what shows that it is there. */
export const PAGES = [
  ['/query?g0.expr=rate(process_cpu_seconds_total[1m])&g0.tab=graph&g0.range_input=5m', 'figure'],
  ['/query?g0.expr=up&g0.tab=table', '[role=table]'],
  ['/query?g0.expr=sum(up)&g0.tab=explain', 'table'],
  ['/alerts?state=all', 'h1'],
  ['/rules', '[role=table]'],
  ['/targets', '[role=table]'],
  ['/service-discovery', '[role=table]'],
  ['/notifications/silences', 'h1'],
  ['/notifications/destinations', 'h1'],
  ['/storage', '[role=table]'],
  ['/status', 'dl'],
  ['/status?tab=flags', '[role=table]'],
  ['/status?tab=config', 'pre'],
];

const EDITOR = '.cm-content';

async function has(page, text) {
  await page.getByText(text).first().waitFor();
}

function equal(got, wanted, what) {
  if (got !== wanted) throw new Error(`${what}: ${JSON.stringify(got)}, wanted ${JSON.stringify(wanted)}`);
}

/** What axe finds wrong on a page. */
async function findings(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() =>
    globalThis.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'] }),
  );
  return violations.map(
    ({ id, nodes }) =>
      `${id}: ${nodes
        .map(node => `${node.target.join(' ')} ${node.any.map(any => any.message).join('; ')}`)
        .slice(0, 3)
        .join(' | ')}`,
  );
}

const typed = {
  name: 'a query is written by completion and drawn',
  async run({ page, url }) {
    await page.goto(`${url}/query`);
    await page.locator(EDITOR).waitFor();
    await page.keyboard.type('http_requests_to');
    await page.locator('.cm-tooltip-autocomplete li', { hasText: 'http_requests_total' }).first().waitFor();
    // A key that comes with the list, within 75 ms, is meant for what was there before: it would run the query.
    await page.waitForTimeout(150);
    await page.keyboard.press('Enter');
    equal(await page.locator(EDITOR).innerText(), 'http_requests_total', 'completed');
    await page.keyboard.press('Enter');
    await page.locator('figure canvas').waitFor();
    await page.getByRole('table', { name: 'Series' }).getByRole('row').nth(1).waitFor();
    equal(new URL(page.url()).searchParams.get('g0.expr'), 'http_requests_total', 'address');
  },
};

const restored = {
  name: 'an address restores a page, an old one too, and Back steps through runs',
  async run({ page, url }) {
    await page.goto(
      `${url}/graph?g0.expr=up&g0.tab=1&g1.expr=sum(up)&g1.tab=0&g1.stacked=1&g1.range_input=15m`,
    );
    await page.getByRole('table', { name: 'Result' }).waitFor();
    await page.locator('figure canvas').waitFor();
    await until('both have an editor', async () => (await page.locator(EDITOR).count()) === 2);
    const { searchParams } = new URL(page.url());
    equal(searchParams.get('g0.tab'), 'table', 'tab');
    equal(searchParams.get('g1.display_mode'), 'stacked', 'mode');
    await page.locator(EDITOR).first().click();
    await page.keyboard.press('End');
    await page.keyboard.type(' == 1');
    await page.keyboard.press('Control+Enter');
    await until(
      'the run is in the address',
      async () => new URL(page.url()).searchParams.get('g0.expr') === 'up == 1',
    );
    await page.goBack();
    await until(
      'Back brings the query',
      async () => (await page.locator(EDITOR).first().innerText()) === 'up',
    );
    for (const [from, to] of [
      ['/flags', '/status?tab=flags'],
      ['/config', '/status?tab=config'],
      ['/tsdb-status', '/storage'],
      ['/targets?scrapePool=services', '/targets?pool=services'],
      ['/#/silences', '/notifications/silences'],
    ]) {
      await page.goto(`${url}${from}`);
      await until(`${from} leads to ${to}`, async () => page.url() === `${url}${to}`);
    }
  },
};

const byKeys = {
  name: 'everything is reached by the keyboard',
  async run({ page, url }) {
    await page.goto(`${url}/status`);
    await has(page, 'This server');
    await page.keyboard.press('g');
    await page.keyboard.press('t');
    await page.getByRole('table', { name: 'Targets' }).waitFor();
    await page.keyboard.press('j');
    await page.keyboard.press('Enter');
    await has(page, 'How it was found and relabelled');
    await page.keyboard.press('/');
    await page.keyboard.type('nothing is called so');
    await has(page, 'None of');
    await page.keyboard.press('Escape');
    await page.getByRole('table', { name: 'Targets' }).waitFor();
    await page.keyboard.press('Control+k');
    await page.getByRole('combobox', { name: /Find a page/ }).waitFor();
    await page.keyboard.type('http_request_dur');
    await page.getByRole('option', { name: 'metric http_request_duration_seconds_bucket' }).waitFor();
    await page.keyboard.press('Enter');
    await page.locator('figure canvas').waitFor();
    await page.locator('body').click({ position: { x: 700, y: 60 } });
    await page.keyboard.press('?');
    await page.getByRole('dialog', { name: 'Keys' }).waitFor();
    await page.keyboard.press('Escape');
    await until('the dialog is closed', async () => (await page.getByRole('dialog').count()) === 0);
  },
};

const errors = {
  name: 'a mistake is marked at its place while it is written',
  async run({ page, url }) {
    await page.goto(`${url}/query`);
    await page.locator(EDITOR).waitFor();
    await page.keyboard.type('sum(up))');
    await page.locator('.cm-lintRange-error').waitFor();
    equal(await page.locator('.cm-lintRange-error').innerText(), ')', 'marked');
    await page.keyboard.press('Escape');
    await page.keyboard.press('Enter');
    await has(page, 'The server cannot read this.');
  },
};

const empty = {
  name: 'an empty result says why, and what is near',
  async run({ page, url }) {
    await page.goto(`${url}/query?g0.expr=sum(rate(http_request_total[1m]))&g0.tab=graph`);
    await has(page, 'There is no metric http_request_total.');
    await page.getByRole('button', { name: 'Use http_requests_total' }).click();
    await page.locator('figure canvas').waitFor();
  },
};

const gone = {
  name: 'a server that vanishes is said, and its return noticed',
  async run({ page, url }) {
    await page.goto(`${url}/targets`);
    await page.getByRole('table', { name: 'Targets' }).waitFor();
    await page.route('**/api/**', route => route.abort());
    await page.route('**/-/ready', route => route.abort());
    await has(page, 'No answer since');
    await page.getByRole('table', { name: 'Targets' }).waitFor();
    await page.unroute('**/api/**');
    await page.unroute('**/-/ready');
    await until('it is noticed', async () => (await page.getByText('No answer since').count()) === 0);
  },
};

/** A target whose labels would be dangerous as HTML. */
async function rogue() {
  const server = createServer((_, answer) =>
    answer
      .setHeader('Content-Type', 'text/plain; version=0.0.4')
      .end('rogue{bad="<img src=x onerror=alert(1)>",worse="\\"><script>alert(2)</script>"} 1\n'),
  );
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve));
  return {
    address: `127.0.0.1:${server.address().port}`,
    stop: () => new Promise(resolve => server.close(resolve)),
  };
}

const html = {
  name: 'HTML in a label is text, behind a prefix too',
  async run({ page, program }) {
    const target = await rogue();
    const folder = mkdtempSync(join(tmpdir(), 'narthex-e2e-'));
    const config = join(folder, 'prometheus.yml');
    writeFileSync(
      config,
      `global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n- job_name: rogue\n  static_configs:\n  - targets: ['${target.address}']\n    labels: {evil: '<img src=x onerror=alert(3)>'}\n`,
    );
    const server = await start(program, [
      `--config.file=${config}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      '--web.route-prefix=/deep/er',
      '--web.external-url=http://127.0.0.1/deep/er',
    ]);
    try {
      let alerted = false;
      page.on('dialog', dialog => {
        alerted = true;
        return dialog.dismiss();
      });
      await until(
        'it is scraped',
        async () =>
          (await (await fetch(`${server.url}/api/v1/query?query=rogue`)).json()).data.result.length > 0,
      );
      for (const path of [
        '/query?g0.expr=rogue&g0.tab=table',
        '/query?g0.expr=rogue&g0.tab=graph',
        '/targets',
        '/service-discovery',
        '/storage?by=pair',
      ]) {
        await page.goto(server.url + path);
        await page.getByRole('table').first().waitFor();
        equal(await page.locator('img').count(), 0, `images on ${path}`);
      }
      await page.goto(`${server.url}/targets`);
      await page.getByRole('link', { name: 'Storage' }).click();
      await until('links keep the prefix', async () => page.url() === `${server.url}/storage`);
      equal(alerted, false, 'a script of a label ran');
    } finally {
      await server.stop();
      await target.stop();
      rmSync(folder, { recursive: true, force: true });
    }
  },
};

/** A server with an Alertmanager inside and an alert that always fires. */
async function alarmed(program) {
  const folder = mkdtempSync(join(tmpdir(), 'narthex-e2e-'));
  const file = (name, text) => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const rules = file(
    'rules.yml',
    "groups:\n- name: g\n  interval: 1s\n  rules:\n  - alert: Always\n    expr: vector(3) > 2\n    labels: {severity: critical, team: ops}\n    annotations: {summary: 'Three is more than two', runbook_url: 'javascript:alert(1)'}\n",
  );
  const config = file('prometheus.yml', `rule_files: ['${rules}']\n`);
  const routes = file('alertmanager.yml', 'route: {receiver: nobody}\nreceivers: [{name: nobody}]\n');
  const server = await start(program, [
    `--config.file=${config}`,
    `--alertmanager.config.file=${routes}`,
    `--storage.tsdb.path=${join(folder, 'data')}`,
  ]);
  return {
    url: server.url,
    async stop() {
      await server.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

const silenced = {
  name: 'an alert is followed from firing to silenced and back',
  async run({ page, program }) {
    const server = await alarmed(program);
    try {
      await page.goto(`${server.url}/alerts`);
      await has(page, '1 alert needs somebody');
      await page.getByRole('link', { name: 'Always' }).click();
      await has(page, 'Three is more than two');
      equal(await page.getByRole('link', { name: 'Runbook' }).count(), 0, 'links to scripts');
      await page.getByRole('button', { name: 'Silence' }).click();
      await has(page, 'Hits 1 of 1 now');
      await page.getByLabel('Why').fill('known');
      await page.getByLabel('By').fill('ann');
      await page.getByRole('button', { name: 'Silence 1 alert' }).click();
      await has(page, '1 silence in force');
      await page.goto(`${server.url}/alerts?state=silenced`);
      await page.getByRole('table', { name: 'Alerts' }).getByText('silenced').first().waitFor();
      await has(page, 'Nothing is firing');
      await page.goto(`${server.url}/notifications/silences`);
      await page.getByRole('button', { name: 'end it' }).click();
      await has(page, 'No silence is in force');
      await page.goto(`${server.url}/alerts`);
      await has(page, '1 alert needs somebody');
    } finally {
      await server.stop();
    }
  },
};

const many = {
  name: 'ten thousand targets and five hundred series are shown, few of them drawn',
  async run({ page, url }) {
    await answer(page, 'targets', () => manyTargets(10_000));
    await page.goto(`${url}/targets`);
    await has(page, 'connection refused 50 (job-7)');
    const rows = await page.getByRole('row').count();
    if (rows > 150) throw new Error(`${rows} rows are there`);
    await page.getByRole('button', { name: /no answer in time/ }).click();
    await until(
      'one cause is shown',
      async () => (await page.getByRole('table', { name: 'Targets' }).getAttribute('aria-rowcount')) === '51',
    );
    await page.goto(`${url}/targets?search=10.0.39.15:9100`);
    await until(
      'one is found',
      async () => (await page.getByRole('table', { name: 'Targets' }).getAttribute('aria-rowcount')) === '2',
    );
    await page.goto(`${url}/targets?view=map`);
    await page.getByRole('img', { name: 'job-7: 200 of 250 up' }).waitFor();
    await answer(page, 'query_range', parameters => manySeries(600, parameters));
    await page.goto(`${url}/query?g0.expr=synthetic&g0.tab=graph`);
    await has(page, '600 series, the 500 highest drawn; the table has all.');
    equal(
      await page.getByRole('table', { name: 'Series' }).getAttribute('aria-rowcount'),
      '601',
      'rows of the legend',
    );
  },
};

const accessible = {
  name: 'axe finds nothing on any page in either theme',
  async run({ page, url }) {
    const all = [];
    for (const [path, sign] of PAGES) {
      for (const colorScheme of ['light', 'dark']) {
        await page.emulateMedia({ colorScheme });
        if (colorScheme === 'light') await page.goto(url + path);
        await page.locator(`main ${sign}`).first().waitFor();
        all.push(...(await findings(page)).map(finding => `${path} ${colorScheme} ${finding}`));
      }
    }
    if (all.length > 0) throw new Error(all.join('\n'));
  },
};

const narrow = {
  name: 'no page scrolls sideways on a phone',
  context: { viewport: { width: 360, height: 780 }, hasTouch: true },
  async run({ page, url }) {
    for (const [path, sign] of PAGES) {
      await page.goto(url + path);
      await page.locator(`main ${sign}`).first().waitFor();
      const wide = await page.evaluate(() =>
        Math.max(document.documentElement.scrollWidth, document.querySelector('main')?.scrollWidth ?? 0),
      );
      if (wide > 360) throw new Error(`${path} is ${wide} wide`);
    }
  },
};

export const TESTS = [typed, restored, byKeys, errors, empty, gone, html, silenced, many, accessible, narrow];
