/**
 * The sections `checks:` and `files:` of a config, as they are written and as a task carries them. Every list is bounded,
 * and all of it together, so that it fits into a line to the unsealer.
 */
import * as z from 'zod';
import { execSchema } from './exec-settings.ts';
import { compileGlob, whyNotGlob, wildcardsOf } from './glob.ts';
import { checked, glob } from './values.ts';

const LIST_MAX = 256;
const NAMES_MAX = 100;
/** Of all checks, as JSON. */
const CHECKS_LENGTH_MAX = 64 * 1024;
export const FILE_RULES_MAX = 64;
const DAY_MS = 24 * 3_600_000;
const EXPIRY_DAYS_MAX = 3650;
const EXPIRY_WARNING_MS = 30 * DAY_MS;
/** uid_t less (uid_t)-1. */
const OWNER_MAX = 0xffff_fffe;

const pair = z
  .strictObject({
    /** PEM, the leaf first. */
    certificate: glob,
    /** Of the same wildcards, which stand for the same. Missing: it is in the same file. */
    key: glob.optional(),
  })
  .superRefine(({ certificate, key }, context) => {
    const problem = whyNotPair(certificate, key);
    if (problem !== undefined) context.addIssue({ code: 'custom', path: ['key'], message: problem });
  });

function whyNotPair(certificate: string, key: string | undefined): string | undefined {
  if (key === undefined || whyNotGlob(certificate) !== undefined || whyNotGlob(key) !== undefined)
    return undefined;
  if (/[{}]/.test(certificate + key)) return 'may have no braces, nor its certificate: make two pairs of it';
  const wildcards = wildcardsOf(key);
  if (compileGlob(key).literal || wildcards.join() === wildcardsOf(certificate).join()) return undefined;
  return 'must be one path, or have the wildcards of its certificate, in their order';
}

/** LDH names, perhaps with a star for the first label; or an address. */
const HOST_NAME =
  /^(?:\*\.)?(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i;
const ADDRESS = /^(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-f:.]*:[0-9a-f:.]*)$/i;

const hostName = checked((name) => {
  if (name.length <= 253 && (HOST_NAME.test(name) || ADDRESS.test(name))) return undefined;
  return 'must be a host name such as www.example.org (xn--… where it is not ASCII), *.example.org, or an address';
});

const FORMATS = ['json', 'yaml', 'dotenv'] as const;
export type Format = (typeof FORMATS)[number];

const shape = {
  pairs: z.array(pair).max(LIST_MAX).default([]),
  required: z.array(glob).max(LIST_MAX).default([]),
  dns: z
    .array(z.strictObject({ file: glob, names: z.array(hostName).min(1).max(NAMES_MAX) }))
    .max(LIST_MAX)
    .default([]),
  formats: z
    .array(z.strictObject({ match: glob, format: z.enum(FORMATS, 'must be json, yaml or dotenv') }))
    .max(LIST_MAX)
    .default([]),
  onBadFile: z.enum(['refuse', 'keep'], 'must be refuse or keep').default('refuse'),
};

const days = z.union([z.number(), z.string()]).transform((value, context) => {
  const match = /^(\d{1,4})d$/.exec(String(value));
  if (match === null || Number(match[1]) > EXPIRY_DAYS_MAX) {
    context.addIssue({
      code: 'custom',
      message: `must be a number of days such as 30d, at most ${EXPIRY_DAYS_MAX}d`,
    });
    return z.NEVER;
  }
  return Number(match[1]) * DAY_MS;
});

/** As a person writes it. */
export const checksSchema = z
  .strictObject({ ...shape, expiryWarning: days.default(EXPIRY_WARNING_MS), exec: execSchema.optional() })
  .superRefine((checks, context) => {
    if (JSON.stringify(contentChecks(checks)).length <= CHECKS_LENGTH_MAX) return;
    context.addIssue({
      code: 'custom',
      message: `must have at most ${CHECKS_LENGTH_MAX} characters: use globs`,
    });
  });

/** As a task has it: `expiryWarning` in ms, and without `exec`, which is no business of who opens bundles. */
export const checksTaskSchema = z.strictObject({ ...shape, expiryWarning: z.int().min(0) });
export type Checks = z.infer<typeof checksTaskSchema>;

/** What is checked where a config says nothing. */
export const DEFAULT_CHECKS: Checks = checksSchema.parse({});

/** What is looked at in a bundle's content: all but `exec`. */
export function contentChecks(written: (Checks & { readonly exec?: unknown }) | undefined): Checks {
  if (written === undefined) return DEFAULT_CHECKS;
  const { exec: _, ...checks } = written;
  return checks;
}

/** A user or a group. */
export const owner = z.union([
  z.int().min(0).max(OWNER_MAX),
  z.string().regex(/^[A-Za-z0-9_.][A-Za-z0-9_.@\\$-]{0,254}$/, 'must be the name or the number of one'),
]);
/** YAML takes 0440 for 440, and 0o440 for 288: only text says what was meant. */
const mode = z.custom<string>((value) => typeof value === 'string' && /^0?[0-7]{3}$/.test(value), {
  message: 'must be text such as "0440", in quotes',
});

const rule = z
  .strictObject({ match: glob, owner: owner.optional(), group: owner.optional(), mode: mode.optional() })
  .superRefine((value, context) => {
    if (value.owner !== undefined || value.group !== undefined || value.mode !== undefined) return;
    context.addIssue({ code: 'custom', message: 'must say an owner, a group or a mode' });
  });

/** As a person writes it: users and groups by name or number. The first rule that matches counts. */
export const filesSchema = z.array(rule).max(FILE_RULES_MAX);
export type FilesSettings = z.infer<typeof filesSchema>;

/** With users and groups looked up: what a task and the server's environment have. */
export const fileRulesSchema = z
  .array(
    z.strictObject({
      match: glob,
      uid: z.int().min(0).max(OWNER_MAX).optional(),
      gid: z.int().min(0).max(OWNER_MAX).optional(),
      mode: z.int().min(0).max(0o777).optional(),
    }),
  )
  .max(FILE_RULES_MAX);
