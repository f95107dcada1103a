/** The section `access:` of a config: who may open which files, beside what owners and modes say. */
import * as z from 'zod';
import { owner } from '../checks/settings.ts';
import { glob } from '../checks/values.ts';

const RULES_MAX = 64;
const ALLOWED_MAX = 32;
const UNIT = /^[A-Za-z0-9:_.@*?-]+\.(service|scope)$/;

const allowed = z
  .strictObject({
    user: owner.optional(),
    group: owner.optional(),
    unit: z
      .string()
      .regex(UNIT, 'must be a unit such as nginx.service; * and ? stand for any characters')
      .optional(),
  })
  .refine(
    (each) => Object.values(each).some((value) => value !== undefined),
    'must name a user, a group or a unit',
  );

export const accessSchema = z
  .array(
    z.strictObject({
      match: glob,
      /** Any of these; of each, all that it names. */
      allow: z.array(allowed).min(1, 'must name somebody').max(ALLOWED_MAX),
    }),
  )
  .max(RULES_MAX);
export type AccessSettings = z.infer<typeof accessSchema>;
