import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

// Recomputes what the design promises of the tokens: contrasts (WCAG 2), and distances of the lines' colours in OKLab as
// eyes of all kinds see them (Machado, Oliveira, Fernandes 2009, severity 1).

type Rgb = [number, number, number];
const css = readFileSync('src/theme/tokens.css', 'utf8');
const pairs = new Map(
  [...css.matchAll(/--([\w-]+): light-dark\((#\w{6}), (#\w{6})\);/g)].map(([, name, light, dark]) => [
    name,
    { light, dark },
  ]),
);

const channels = (hex: string): Rgb =>
  [1, 3, 5].map(at => Number.parseInt(hex.slice(at, at + 2), 16) / 255) as Rgb;
const linear = (c: number) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
const token = (name: string, scheme: 'light' | 'dark') => {
  const hex = pairs.get(name)?.[scheme];
  if (!hex) throw new Error(`no token ${name}`);
  return channels(hex);
};
const luminance = (rgb: Rgb) => {
  const [r, g, b] = rgb.map(linear) as Rgb;
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const contrast = (a: Rgb, b: Rgb) => {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y) as [number, number];
  return (high + 0.05) / (low + 0.05);
};
const times = (m: number[][], v: Rgb) =>
  m.map(row => row.reduce((sum, x, i) => sum + x * (v[i] ?? 0), 0)) as Rgb;
const EYES: Record<string, number[][]> = {
  normal: [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ],
  protan: [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
  ],
  deutan: [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.01182, 0.04294, 0.968881],
  ],
  tritan: [
    [1.255528, -0.076749, -0.178779],
    [-0.078411, 0.930809, 0.147602],
    [0.004733, 0.691367, 0.3039],
  ],
};
const seen = (rgb: Rgb, eye: string): Rgb =>
  times(EYES[eye] ?? [], rgb.map(linear) as Rgb).map(c => Math.min(1, Math.max(0, c))) as Rgb;
const oklab = (rgb: Rgb): Rgb => {
  const lms = times(
    [
      [0.4122214708, 0.5363325363, 0.0514459929],
      [0.2119034982, 0.6806995451, 0.1073969566],
      [0.0883024619, 0.2817188376, 0.6299787005],
    ],
    rgb,
  ).map(Math.cbrt) as Rgb;
  return times(
    [
      [0.2104542553, 0.793617785, -0.0040720468],
      [1.9779984951, -2.428592205, 0.4505937099],
      [0.0259040371, 0.7827717662, -0.808675766],
    ],
    lms,
  );
};
const distance = (a: Rgb, b: Rgb, eye: string) => {
  const [x, y] = [oklab(seen(a, eye)), oklab(seen(b, eye))];
  return 100 * Math.hypot(x[0] - y[0], x[1] - y[1], x[2] - y[2]);
};
const leastPair = (colours: Rgb[], eye: string) =>
  Math.min(...colours.flatMap((a, i) => colours.slice(i + 1).map(b => distance(a, b, eye))));
const SCHEMES = ['light', 'dark'] as const;
const numbers = Array.from({ length: 12 }, (_, i) => i + 1);

test('every colour is there for both themes', () => expect(pairs.size).toBeGreaterThan(40));

test.each(SCHEMES)('%s: text is read on panels, pages and its own tint', scheme => {
  for (const ink of [
    'ink',
    'ink2',
    'ink3',
    'accent',
    'critical',
    'warning',
    'info',
    'none',
    'promql-label',
    'promql-number',
  ])
    for (const surface of ['panel', 'page', 'raised', 'sunken'])
      expect(
        contrast(token(ink, scheme), token(surface, scheme)),
        `${ink} on ${surface}`,
      ).toBeGreaterThanOrEqual(4.5);
  for (const role of ['accent', 'critical', 'warning', 'info', 'none'])
    expect(contrast(token(role, scheme), token(`${role}-tint`, scheme)), role).toBeGreaterThanOrEqual(4.5);
});

test.each(SCHEMES)('%s: text is read on solid fills, and controls are seen', scheme => {
  for (const fill of ['accent', 'critical', 'info'])
    expect(contrast(token('on-fill', scheme), token(fill, scheme)), fill).toBeGreaterThanOrEqual(4.5);
  expect(contrast(token('on-amber', scheme), token('warning-fill', scheme))).toBeGreaterThanOrEqual(4.5);
  expect(contrast(token('control', scheme), token('panel', scheme))).toBeGreaterThanOrEqual(3);
});

test('dark panels are lighter than their page', () =>
  expect(luminance(token('panel', 'dark'))).toBeGreaterThan(luminance(token('page', 'dark'))));

test.each([
  ['light', 3.1, 12],
  ['dark', 3.5, 12],
] as const)('%s: lines are seen, and are no states', (scheme, least, apart) => {
  for (const number of numbers) {
    const line = token(`series-${number}`, scheme);
    expect(contrast(line, token('panel', scheme)), `series-${number}`).toBeGreaterThanOrEqual(least - 0.05);
    for (const state of ['critical', 'warning-fill'])
      expect(
        distance(line, token(state, scheme), 'normal'),
        `series-${number} and ${state}`,
      ).toBeGreaterThanOrEqual(apart - 0.5);
  }
});

test.each(SCHEMES.flatMap(scheme => Object.keys(EYES).map(eye => [scheme, eye] as const)))(
  '%s: %s eyes tell all lines apart',
  (scheme, eye) => {
    const colours = numbers.map(number => token(`series-${number}`, scheme));
    expect(leastPair(colours, eye)).toBeGreaterThanOrEqual(8);
  },
);

test.each(SCHEMES)('%s: heat grows without a step back', scheme => {
  const light = [1, 2, 3, 4, 5, 6, 7].map(number => luminance(token(`heat-${number}`, scheme)));
  const sorted = [...light].sort((a, b) => (scheme === 'light' ? b - a : a - b));
  expect(light).toEqual(sorted);
});
