/** A container's file system as a tar, carried through unchanged; and what of it could never be mounted. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { test } from 'node:test';
import { PROGRAM } from '../support/paths.ts';
import { Bench, must } from '../support/program.ts';

async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

test("a Debian root file system's tar comes out of pack and unpack byte for byte, through pipes", async (t) => {
  const bench = await Bench.create(t);
  // As docker export writes one: hard links, setuid files, devices, names of every kind.
  await must('mmdebstrap', ['--variant=essential', '--quiet', 'bookworm', bench.path('root.tar')]);
  const shell = (script: string) =>
    must('bash', ['-c', `set -euo pipefail; ${script}`], {
      env: { ...bench.env, NODE: process.execPath },
      cwd: bench.directory,
    });
  await bench.must(['keygen', 'key']);
  await shell(`"$NODE" ${PROGRAM} pack --tar - --name root --key local:key - <root.tar 2>warnings >root.enc`);
  await shell(`"$NODE" ${PROGRAM} unpack - - --key local:key <root.enc >back.tar`);
  assert.equal(await sha256(bench.path('back.tar')), await sha256(bench.path('root.tar')));
  assert.ok((await stat(bench.path('root.tar'))).size > 50_000_000);

  const warnings = await shell('cat warnings');
  for (const what of [/usr\/bin\/su" has mode 4755/, /is a hard link to/, /is a character device/])
    assert.match(warnings, what);

  // What carries through is not thereby fit to be unpacked or mounted.
  const refused = await bench.secretsfs(['unpack', 'root.enc', 'out/', '--key', 'local:key']);
  assert.equal(refused.code, 6);
  assert.match(refused.stderr, /\(archive-refused\)/);
  assert.ok(!(await readdir(bench.directory)).includes('out'));
});
