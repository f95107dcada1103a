/** Packages as scripts/package makes them, hardly compressed, of versions that exist for a test only. */
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { REPOSITORY } from './paths.ts';
import { must } from './program.ts';
import { patient } from './slowness.ts';

/** Of all that is packed here. */
const EPOCH = '1700000000';
const MS_MAX = patient(180_000);

export class Packages {
  readonly directory: string;

  private constructor(directory: string) {
    this.directory = directory;
  }

  static async create(): Promise<Packages> {
    return new Packages(await mkdtemp(path.join(tmpdir(), 'packages-')));
  }

  path(...names: string[]): string {
    return path.join(this.directory, ...names);
  }

  /** scripts/build.mjs into `name`. */
  async build(version: string, name: string): Promise<void> {
    const build = path.join(REPOSITORY, 'scripts/build.mjs');
    const env = {
      ...process.env,
      SECRETSFS_VERSION: version,
      SECRETSFS_DIST: this.path(name),
      SOURCE_DATE_EPOCH: EPOCH,
    };
    await must(process.execPath, [build], { env, timeoutMs: MS_MAX });
  }

  /** scripts/package ARGS... into `out`; the program is built for it unless --dist is among them. */
  async make(version: string, out: string, args: readonly string[]): Promise<void> {
    const env = { ...process.env, SECRETSFS_VERSION: version, SOURCE_DATE_EPOCH: EPOCH };
    const script = path.join(REPOSITORY, 'scripts/package');
    await must(script, ['--quick', '--out', this.path(out), ...args], { env, timeoutMs: MS_MAX });
  }

  /** A Debian package like `deb` whose program does not start; where it is. */
  async broken(deb: string, version: string): Promise<string> {
    const [tree, made] = [this.path('broken'), this.path('broken.deb')];
    await must('dpkg-deb', ['--raw-extract', deb, tree]);
    await writeFile(path.join(tree, 'usr/lib/secretsfs/dist/secretsfs.mjs'), '#!/bin/false\n');
    await must('sed', ['-i', `s/^Version: .*/Version: ${version}-1/`, path.join(tree, 'DEBIAN/control')]);
    await must('dpkg-deb', ['--root-owner-group', '-Znone', '--build', tree, made]);
    await rm(tree, { recursive: true });
    return made;
  }

  async remove(): Promise<void> {
    await rm(this.directory, { recursive: true, force: true });
  }
}

export interface Packed {
  /** Absolute, without a slash at its end. */
  readonly name: string;
  /** As ls shows it. */
  readonly mode: string;
  readonly owner: string;
}

const byName = (a: Packed, b: Packed) => (a.name < b.name ? -1 : 1);

export async function filesOfDeb(deb: string): Promise<Packed[]> {
  const lines = (await must('dpkg-deb', ['--contents', deb])).trim().split('\n');
  const all = lines.flatMap((line) => {
    const [, mode = '', owner = '', name = ''] =
      /^(\S+) (\S+) +\d+ \S+ \S+ \.(.*?)\/?(?: -> .*)?$/.exec(line) ?? [];
    return name === '' ? [] : [{ name, mode, owner }];
  });
  return all.sort(byName);
}

/** `directory`: where rpmbuild works. */
export async function buildRpm(tarball: string, directory: string): Promise<string> {
  const define = (name: string, value: string) => ['--define', `${name} ${value}`];
  const options = [...define('_topdir', directory), ...define('_binary_payload', 'w1.gzdio')];
  await must('rpmbuild', ['-tb', '--quiet', ...options, tarball], { timeoutMs: MS_MAX });
  const [made = ''] = (await readdir(path.join(directory, 'RPMS'), { recursive: true })).filter((name) =>
    name.endsWith('.rpm'),
  );
  return path.join(directory, 'RPMS', made);
}

/** `flags`: c for a config, n for one that is not replaced. */
export async function filesOfRpm(rpm: string): Promise<(Packed & { readonly flags: string })[]> {
  const format = '[%{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME} "%{FILEFLAGS:fflags}" %{FILENAMES}\n]';
  const lines = (await must('rpm', ['--query', '--package', '--queryformat', format, rpm]))
    .trim()
    .split('\n');
  const all = lines.map((line) => {
    const [, mode = '', owner = '', flags = '', name = ''] = /^(\S+) (\S+) "(.*)" (.*)$/.exec(line) ?? [];
    return { name, mode, owner, flags };
  });
  return all.sort(byName);
}

/** Into a root directory with nothing in it, and the libraries of this machine that Node.js is linked to. */
export async function installRpm(rpm: string, root: string): Promise<void> {
  await mkdir(root);
  await must('rpm', ['--root', root, '--nodeps', '--noscripts', '--install', rpm]);
  const linked = await must('ldd', [path.join(root, 'usr/lib/secretsfs/bin/node')]);
  const libraries = [...linked.matchAll(/(\/\S+)(?= \(0x)/g)].map(([library]) => library);
  await must('cp', ['--dereference', '--parents', ...libraries, root]);
}
