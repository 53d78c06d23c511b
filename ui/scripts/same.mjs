// Whether dist/ is the build of the sources: builds into a folder of its own and compares. CI runs it.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const files = folder =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort();

const built = mkdtempSync(join(tmpdir(), 'narthex-ui-'));
try {
  execFileSync(
    'node_modules/.bin/vite',
    ['build', '--outDir', built, '--emptyOutDir', '--logLevel', 'warn'],
    { stdio: 'inherit' },
  );
  execFileSync(process.execPath, ['scripts/budget.mjs', built], { stdio: 'inherit' });
  const [fresh, kept] = [files(built), files('dist')];
  const differing = [...new Set([...fresh, ...kept])].filter(
    name =>
      !fresh.includes(name) ||
      !kept.includes(name) ||
      !readFileSync(join(built, name)).equals(readFileSync(join('dist', name))),
  );
  if (differing.length > 0) {
    process.stderr.write(
      `dist/ is not the build of the sources; run \`npm run build\` and commit it. Differing:\n${differing.map(name => `  ${name}\n`).join('')}`,
    );
    process.exitCode = 1;
  } else {
    process.stdout.write(`dist/ is the build of the sources: ${fresh.length} files.\n`);
  }
} finally {
  rmSync(built, { recursive: true, force: true });
}
