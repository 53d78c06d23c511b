/** Numbers for people: four significant digits, a true minus, and words for what is no number. */

/** What stands where there is no sample. */
export const NOTHING = '–';
const THIN = '\u2009';
const MINUS = '−';

const SI = ['', ' k', ' M', ' G', ' T', ' P', ' E'];

/** A number without a unit: `0.4203`, `1 284`, `1.284 M`, `3.2e-7`. */
export function number(value: number | null | undefined): string {
  return inWords(value) ?? signed(value as number, plain);
}

/** What is the same whatever the unit: nothing, NaN, infinities. */
export function inWords(value: number | null | undefined): string | undefined {
  if (value === null || value === undefined) return NOTHING;
  if (Number.isNaN(value)) return 'NaN';
  if (value === Infinity) return '+Inf';
  return value === -Infinity ? `${MINUS}Inf` : undefined;
}

/** Writes the size of a number and sets its sign in front. */
export function signed(value: number, write: (size: number) => string): string {
  return (value < 0 ? MINUS : '') + write(Math.abs(value));
}

function plain(size: number): string {
  if (size === 0) return '0';
  if (size < 1e-4) return exponent(size);
  // What rounds to the next power is written as that.
  if (size < 99_999.5) return grouped(size);
  const power = Math.min(Math.floor(Math.log10(size * (1 + 5e-5)) / 3), SI.length - 1);
  if (size >= 1e21) return exponent(size);
  return significant(size / 1000 ** power) + SI[power];
}

function exponent(size: number): string {
  return String(Number(size.toPrecision(4)).toExponential())
    .replace('e+', 'e')
    .replace('-', '-');
}

function grouped(size: number): string {
  const text = significant(size);
  return size < 999.95 ? text : text.replace(/\B(?=(\d{3})+(?!\d))/g, THIN);
}

/** Four significant digits without trailing zeros; whole digits are never rounded away. */
export function significant(size: number, digits = 4): string {
  if (size === 0) return '0';
  const whole = Math.max(1, Math.floor(Math.log10(size)) + 1);
  if (whole >= digits) return String(Math.round(size));
  return String(Number(size.toPrecision(digits)));
}

/** A count: whole, digits in threes however many there are. */
export function count(value: number): string {
  return signed(Math.round(value), size => String(size).replace(/\B(?=(\d{3})+(?!\d))/g, THIN));
}

/** `1 series`, `8 series`, `1 target`, `8 targets`. */
export function counted(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}
