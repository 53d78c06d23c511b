/** Words of an address as choices that are read: `all` is shown as `All`. */
export function choices<T extends string>(words: readonly T[]): { value: T; label: string }[] {
  return words.map(value => ({ value, label: value.charAt(0).toUpperCase() + value.slice(1) }));
}
