// Numbers, times and lengths of time, as the language that is shown writes them.

import { language, phrase } from "./i18n.js";

/** What stands where there is no figure. */
export const NONE = "–";

/** A number with so many digits that count; NONE if it is not finite. */
export function figure(value, digits = 4) {
  if (!Number.isFinite(value)) return NONE;
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e15)) return scientific(value, digits);
  return value.toLocaleString(language().tag, size < 10 ** digits ? { maximumSignificantDigits: digits } : { maximumFractionDigits: 0 });
}

/** A number beside an axis whose numbers go up to `largest`, as short as it can be. */
export function short(value, largest) {
  if (largest < 1e-2 && value !== 0) return scientific(value, 4);
  if (Math.abs(value) < 1e4) return figure(value);
  return value.toLocaleString(language().tag, { notation: "compact", maximumSignificantDigits: 3 });
}

function scientific(value, digits) {
  const [fraction, power] = Number(value.toPrecision(digits)).toExponential().split("e");
  return `${fraction}e${Number(power)}`.replaceAll("-", "\u2212");
}

export function percent(share, digits = 1) {
  if (!Number.isFinite(share)) return NONE;
  return share.toLocaleString(language().tag, { style: "percent", maximumFractionDigits: digits });
}

/** A length of time in its two largest units. */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return NONE;
  const whole = Math.round(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  if (hours > 0) return phrase("hoursMinutes", { hours, minutes });
  if (minutes > 0) return phrase("minutesSeconds", { minutes, seconds: whole % 60 });
  return phrase("seconds", { seconds: whole });
}

/** A date and time from seconds since 1970. */
export function moment(seconds) {
  if (!Number.isFinite(seconds)) return NONE;
  return new Date(seconds * 1000).toLocaleString(language().tag, { dateStyle: "medium", timeStyle: "short" });
}

/** A size of a file. */
export function bytes(count) {
  const units = ["byte", "kilobyte", "megabyte"];
  const step = Math.min(units.length - 1, count < 1000 ? 0 : Math.floor(Math.log10(count) / 3));
  const options = { style: "unit", unit: units[step], maximumFractionDigits: step === 0 ? 0 : 1 };
  return (count / 1000 ** step).toLocaleString(language().tag, options);
}
