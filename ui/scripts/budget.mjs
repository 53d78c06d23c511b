// What the pages weigh: the shell, Explore, its editor and the font, gzipped, against what DESIGN.md allows. Run behind a build:
//     node scripts/budget.mjs dist
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

// In bytes. The first load is what has to be there to draw a query; the editor takes its field's place behind that.
const ALLOWED = { shell: 150_000, explore: 150_000, editor: 130_000, font: 50_000, 'first load': 350_000 };

const folder = process.argv[2] ?? 'dist';
const manifestFile = join(folder, 'manifest.json');
const manifest = JSON.parse(readFileSync(manifestFile, 'utf8'));

/** Files that an entry loads before it runs, with those of its imports. */
function filesOf(name, seen = new Set()) {
  const entry = manifest[name];
  if (!entry || seen.has(name)) return [];
  seen.add(name);
  return [entry.file, ...(entry.css ?? []), ...(entry.imports ?? []).flatMap(other => filesOf(other, seen))];
}
const weigh = files =>
  [...new Set(files)].reduce(
    (sum, file) => sum + gzipSync(readFileSync(join(folder, file)), { level: 9 }).length,
    0,
  );

const shell = filesOf('index.html');
const beside = name => filesOf(name).filter(file => !shell.includes(file));
const explore = beside('src/pages/explore/explore.tsx');
const editor = beside('src/components/promql/codemirror.tsx').filter(file => !explore.includes(file));
const font = Object.values(manifest)
  .flatMap(({ file, assets = [] }) => [file, ...assets])
  .filter(file => /inter-latin-wght.*woff2$/.test(file));
const fontBytes = [...new Set(font)].reduce((sum, file) => sum + readFileSync(join(folder, file)).length, 0);
const weights = { shell: weigh(shell), explore: weigh(explore), editor: weigh(editor), font: fontBytes };
weights['first load'] = weights.shell + weights.explore + weights.font;

let over = false;
for (const [what, bytes] of Object.entries(weights)) {
  const isOver = bytes > ALLOWED[what];
  over ||= isOver;
  process.stdout.write(
    `${what}: ${(bytes / 1000).toFixed(1)} kB of ${ALLOWED[what] / 1000} kB${isOver ? '  TOO MUCH' : ''}\n`,
  );
}
rmSync(manifestFile);
if (over) process.exit(1);
