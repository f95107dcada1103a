/** What settings are made of, wherever they come from: texts, lists, switches, times and amounts. */
import * as z from 'zod';

export const text = z.string().min(1, 'must not be empty');
/** Commas separate, wherever a value comes from: no ARN and no name has one. */
export const list = z
  .union([z.array(text), text.transform((value) => [value])])
  .transform((items) => items.flatMap((item) => item.split(',')))
  .refine((items) => !items.includes(''), 'has an empty member');
export const flag = z.union(
  [z.boolean(), z.enum(['true', 'false']).transform((value) => value === 'true')],
  'must be true or false',
);
const DURATION_UNITS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const;
const SIZE_UNITS = { '': 1, K: 1024, M: 1024 ** 2, G: 1024 ** 3 } as const;

/** 500ms, 30s, 5m, 1h, in milliseconds; undefined for anything else. */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text);
  if (match === null) return undefined;
  return Number(match[1]) * DURATION_UNITS[match[2] as keyof typeof DURATION_UNITS];
}

/** In milliseconds. */
export const duration = z.union([z.number(), text]).transform((value, context) => {
  const ms = parseDuration(String(value));
  if (ms !== undefined) return ms;
  context.addIssue({ code: 'custom', message: 'must be a time such as 500ms, 30s, 5m or 1h' });
  return z.NEVER;
});

export const wholeNumber = z
  .union([z.number(), text.transform(Number)])
  .refine((value) => Number.isSafeInteger(value) && value >= 1, 'must be a whole number from 1 on');

/** From 1 to `max`; `what` names it in the message. */
export function amount(max: number, what: string) {
  return z.union([z.number(), text]).transform((value, context) => {
    const match = /^(\d+)([KMG]?)(?:iB)?$/.exec(String(value));
    const total =
      match === null ? Number.NaN : Number(match[1]) * SIZE_UNITS[match[2] as keyof typeof SIZE_UNITS];
    if (!(total >= 1 && total <= max)) {
      context.addIssue({ code: 'custom', message: `must be ${what} from 1 to ${max}` });
      return z.NEVER;
    }
    return total;
  });
}
