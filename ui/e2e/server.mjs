// Starting the real server for tests in a browser, and ending it.
import { spawn } from 'node:child_process';
import { createServer } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';

/** How long anything may take that must happen, in milliseconds. */
export const PATIENCE = 30_000;

async function freePort() {
  const server = createServer();
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise(resolve => server.close(resolve));
  return port;
}

/** Starts `program` with `args` on a port of its own; answers with its address and how to stop it. */
export async function start(program, args) {
  const port = await freePort();
  const child = spawn(program, [...args, `--web.listen-address=127.0.0.1:${port}`], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', text => {
    said += text;
  });
  const ended = new Promise(resolve => child.on('exit', resolve));
  const url = `http://127.0.0.1:${port}`;
  const prefix = args.find(arg => arg.startsWith('--web.route-prefix='))?.split('=')[1] ?? '';
  for (const begin = Date.now(); ; ) {
    const isReady = await fetch(`${url}${prefix}/-/ready`).then(
      answer => answer.ok,
      () => false,
    );
    if (isReady) break;
    if (child.exitCode !== null || Date.now() - begin > PATIENCE) {
      child.kill('SIGKILL');
      throw new Error(`the server does not start: ${said}`);
    }
    await wait(50);
  }
  return {
    url: url + prefix,
    async stop() {
      child.kill('SIGTERM');
      await ended;
    },
  };
}

/** Asks the server until what it answers is so. */
export async function until(what, isSo) {
  for (const begin = Date.now(); ; ) {
    if (await isSo()) return;
    if (Date.now() - begin > PATIENCE) throw new Error(`still not so: ${what}`);
    await wait(100);
  }
}
