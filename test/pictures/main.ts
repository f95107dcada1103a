/** Writes the pictures and tables that documents() makes; scripts/pictures runs it. */
import { writeFileSync } from 'node:fs';
import { documents } from './documents.ts';
import { readRecord } from './record.ts';

for (const [file, text] of documents(readRecord())) writeFileSync(file, text);
