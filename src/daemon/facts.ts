/**
 * What a supervisor knows of a generation beside its image, kept with it in the store for the supervisor after it: which bundles
 * it is of, and by what they were judged. Names, numbers and digests; no content. Another version is not read.
 */
import { createHash } from 'node:crypto';
import * as z from 'zod';
import type { FileRule } from '../checks/ownership.ts';
import { fileRulesSchema } from '../checks/settings.ts';
import type { WrittenImage } from './image-files.ts';
import type { PartOptions } from './mount-options.ts';
import { mountRules } from './part-paths.ts';
import type { Live, Opened, TakenFrom } from './rotation-ports.ts';
import type { InStore } from './supervisor-options.ts';
import { openedResultSchema, writtenImageSchema } from './unsealer-channel.ts';

/** Another one with each change of the schema, or of what its fields mean. */
const FACTS_VERSION = 1;
/** Findings, certificates and kept paths of 64 bundles. */
export const FACTS_BYTES_MAX = 64 * 1024 * 1024;

const number = z.number();
const partSchema = z.strictObject({
  /** null: it is all of the mount. */
  directory: z.string().nullable(),
  /** The place of the source among those of the part, and a digest of what they are. null: it was kept on the disk. */
  source: z.int().min(0).nullable(),
  sources: z.string(),
  revision: z.string(),
  sha256: z.string(),
  serial: z.int().min(1),
  created: z.string(),
  uploadedMs: number.nullable(),
  activatedMs: number,
  /** A digest of the settings that it was judged by. */
  judgedBy: z.string(),
  result: openedResultSchema,
  /** Of a part of several: what generations are composed of. */
  image: z.strictObject({ id: z.int().min(1), bytes: number, nextIno: number }).nullable(),
});
export type PartFacts = z.infer<typeof partSchema>;

const factsSchema = z.strictObject({
  version: z.literal(FACTS_VERSION),
  /** `files:`, by which the server may serve it. */
  rules: fileRulesSchema,
  /** Of several bundles, the whole. */
  written: writtenImageSchema.nullable(),
  parts: z.array(partSchema),
});
export type Facts = z.infer<typeof factsSchema>;

/** What a bundle is judged by, and what is made of it: where one of these is another, what is live is opened again. */
export const JUDGED_BY: readonly (keyof PartOptions)[] = [
  'name',
  'acceptedKeys',
  'context',
  'minSerial',
  'formats',
  'bytesMax',
  'filesMax',
  'checks',
  'rules',
];

/** Of a bundle that is about to go live. */
export function partFacts(
  options: PartOptions,
  { generation, serial, created, uploadedMs }: Opened<InStore>,
  { source, revision, sha256 }: TakenFrom,
  nowMs: number,
): PartFacts {
  return {
    directory: options.directory ?? null,
    source: source ?? null,
    ...{ revision, sha256, serial, created },
    sources: digest(options.sources),
    uploadedMs: uploadedMs ?? null,
    activatedMs: nowMs,
    judgedBy: judgedBy(options),
    result: generation.result,
    image: null,
  };
}

/** For Engine.activate(). */
export function encodeFacts(
  parts: readonly PartFacts[],
  options: readonly PartOptions[],
  written: WrittenImage | undefined,
): string {
  const facts: Facts = {
    version: FACTS_VERSION,
    rules: [...(mountRules(options) as FileRule[])],
    written: written === undefined ? null : numbersOf(written),
    parts: [...parts],
  };
  return JSON.stringify(facts);
}

/** Whoever composed it said more. */
function numbersOf({ files, directories, symlinks, contentBytes, counts }: WrittenImage): WrittenImage {
  return { files, directories, symlinks, contentBytes, counts };
}

/** undefined for what encodeFacts() of this version does not write. */
export function decodeFacts(text: string | undefined): Facts | undefined {
  try {
    return text === undefined ? undefined : factsSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

/** As Rotation has it. */
export function liveOf({ result, ...facts }: PartFacts, generationId: number): Live<InStore> {
  const { revision, sha256, serial, created, uploadedMs, activatedMs, image } = facts;
  const id = image?.id ?? generationId;
  const candidate = { id, imageFd: -1, changesFd: -1, previousFd: undefined, closed: true };
  return {
    ...{ revision, sha256, serial, created, activatedMs },
    uploadedMs: uploadedMs ?? undefined,
    generation: { candidate, result },
  };
}

/** Whether it would be judged as it was, and is looked for where it was. */
export function isAsBefore(facts: PartFacts, options: PartOptions): { judged: boolean; sources: boolean } {
  return {
    judged: facts.judgedBy === judgedBy(options),
    sources: facts.sources === digest(options.sources),
  };
}

function judgedBy(options: PartOptions): string {
  return digest(JUDGED_BY.map((name) => options[name] ?? null));
}

function digest(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex');
}
