// Decimal numbers as texts: compared and divided exactly, whatever their size.

const FORM = /^(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?$/;
const LONGEST = 1000;

/** Tell if a text is a number of JSON. */
export function isDecimal(text) {
  return FORM.test(text);
}

/** Split a number into whole digits and the power of ten that they are worth; null if that would cost much. */
function split(text) {
  const [, sign, whole, fraction = "", exponent = "0"] = FORM.exec(String(text)) ?? [];
  if (whole === undefined || whole.length + fraction.length > LONGEST || exponent.length > 5) return null;
  const power = Number(exponent) - fraction.length;
  return Math.abs(power) > LONGEST ? null : [BigInt(`${sign}${whole}${fraction}`), power];
}

/** Bring two numbers to one power of ten; null if one of them is too long. */
function align(first, second) {
  const [a, b] = [split(first), split(second)];
  if (!a || !b) return null;
  const lowest = Math.min(a[1], b[1]);
  return [a, b].map(([digits, power]) => digits * 10n ** BigInt(power - lowest));
}

/**
 * Compare two numbers: -1, 0 or 1; null if it can't be said here.
 * @returns {number | null}
 */
export function compare(first, second) {
  const pair = align(first, second);
  if (!pair) return null;
  return pair[0] === pair[1] ? 0 : pair[0] < pair[1] ? -1 : 1;
}

/** Tell if a number is a whole one, in whichever form: 1, 1.0, 1e3; null if it can't be said here. */
export function isWhole(text) {
  return isMultiple(text, "1");
}

/** Tell if a number is a multiple of another one; null if it can't be said here. */
export function isMultiple(text, of) {
  const pair = align(text, of);
  return !pair || pair[1] === 0n ? null : pair[0] % pair[1] === 0n;
}
