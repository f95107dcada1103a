/** Kinds of values that the sections of a config have in common. */
import * as z from 'zod';
import { whyNotGlob } from './glob.ts';

/** Text of which `why` has nothing to say. Said in a custom issue, whose words problemOf() takes as they are. */
export function checked(why: (value: string) => string | undefined) {
  return z.string().superRefine((value, context) => {
    const message = why(value);
    if (message !== undefined) context.addIssue({ code: 'custom', message });
  });
}

/** What compileGlob() takes. */
export const glob = checked(whyNotGlob);
