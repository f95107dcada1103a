/**
 * An nginx that is newer than Debian 12's: from Debian's next release, with the libraries that it needs, unpacked below build/ and
 * run with its own loader. Nothing is installed. apt checks the signatures with the keys of this Debian.
 */
import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { REPOSITORY } from './paths.ts';
import { must, run } from './program.ts';
import { script } from './root-directory.ts';

const SUITE = 'forky';
const PACKAGES = ['nginx', 'libc6', 'libcrypt1', 'libpcre2-8-0', 'libssl3t64', 'zlib1g'];
const HERE = path.join(REPOSITORY, 'build', `nginx-${SUITE}`);
const LIBRARIES = path.join(HERE, 'usr', 'lib', 'x86_64-linux-gnu');

/** Writes a program `nginx` into the directory, which starts it; returns its path. */
export async function newerNginx(directory: string): Promise<string> {
  if ((await run('test', ['-e', HERE])).code !== 0) await fetchPackages();
  const loader = path.join(LIBRARIES, 'ld-linux-x86-64.so.2');
  const program = path.join(HERE, 'usr', 'sbin', 'nginx');
  const text = `#!/bin/sh\nexec ${loader} --library-path ${LIBRARIES} ${program} "$@"\n`;
  return script(directory, 'nginx', text);
}

async function fetchPackages(): Promise<void> {
  await mkdir(path.dirname(HERE), { recursive: true });
  const work = await mkdtemp(`${HERE}-`);
  try {
    const at = (...names: string[]) => path.join(work, ...names);
    for (const name of ['state/lists/partial', 'cache/archives/partial', 'root'])
      await mkdir(at(name), { recursive: true });
    const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';
    await writeFile(
      at('sources.list'),
      `deb [signed-by=${keyring}] http://deb.debian.org/debian ${SUITE} main\n`,
    );
    const options = [
      ...['-qq', '-o', `Dir::State=${at('state')}`, '-o', `Dir::Cache=${at('cache')}`],
      ...['-o', `Dir::Etc::SourceList=${at('sources.list')}`, '-o', 'Dir::Etc::SourceParts=/dev/null'],
      ...['-o', 'APT::Sandbox::User=root', '-o', 'Acquire::Languages=none'],
    ];
    await must('apt-get', [...options, 'update']);
    await must('apt-get', [...options, 'download', ...PACKAGES.map((name) => `${name}/${SUITE}`)], {
      cwd: work,
    });
    for (const name of await readdir(work))
      if (name.endsWith('.deb')) await must('dpkg-deb', ['-x', at(name), at('root')]);
    // Somebody else may have been faster.
    await rename(at('root'), HERE).catch(() => undefined);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
