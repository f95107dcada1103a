/** `checks.exec` of the config file: programs that look at a generation before it goes live. */
import * as z from 'zod';
import { duration, text } from '../daemon/config-values.ts';
import { checked, glob } from './values.ts';

const CHECKS_MAX = 16;
const GLOBS_MAX = 64;
const ARGUMENTS_MAX = 64;
const ARGUMENT_LENGTH_MAX = 1024;
const TIMEOUT_DEFAULT_MS = 30_000;

const name = checked((value) =>
  /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(value) ? undefined : 'must be 1 to 64 of A-Z a-z 0-9 . _ -',
);
const argument = checked((value) =>
  value.length <= ARGUMENT_LENGTH_MAX && !value.includes('\0')
    ? undefined
    : `must have at most ${ARGUMENT_LENGTH_MAX} characters, and no NUL`,
);
/** Nothing relative: it would depend on where the mount was started. And no `..`, which a symlink leads elsewhere. */
const program = checked((value) =>
  /^\/[^\0]+$/.test(value) && !value.split('/').some((part) => part === '.' || part === '..')
    ? undefined
    : 'must be an absolute path with no . or .. among its names',
);

const checkSchema = z.strictObject({
  name,
  /** An argv, never a shell; the program by its absolute path. */
  run: z.tuple([program], argument).refine((argv) => argv.length <= ARGUMENTS_MAX, {
    message: `must have at most ${ARGUMENTS_MAX} words`,
  }),
  /** Over paths inside the mount; it runs where one that changes matches. None: always. */
  match: z.array(glob).min(1).max(GLOBS_MAX).optional(),
  timeout: duration
    .refine((ms) => ms >= 100 && ms <= 600_000, 'must be from 100ms to 10m')
    .default(TIMEOUT_DEFAULT_MS),
  /** Who it runs as: root, unless it is named. */
  user: text.optional(),
});

/** In the order in which they run. */
export const execSchema = z
  .array(checkSchema)
  .max(CHECKS_MAX)
  .refine(
    (checks) => new Set(checks.map(({ name }) => name)).size === checks.length,
    'must not have two of one name',
  );

/** One of them, with its defaults. */
export type ExecCheck = z.infer<typeof execSchema>[number];
