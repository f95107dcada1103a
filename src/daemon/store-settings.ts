/** Where single secrets are, as settings. What a location may be, src/secrets knows. */
import * as z from 'zod';
import { flag, text } from './config-values.ts';

export const storeSettings = {
  store: text,
  sse: z.enum(['aws:kms', 'aws:kms:dsse', 'AES256'], 'must be aws:kms, aws:kms:dsse or AES256'),
  sseKey: text,
  allowPublic: flag,
} as const;
