#!/usr/bin/env node
/**
 * Checks who may import whom in src/ (docs/architecture.md has the picture). The import graph is esbuild's own, so it
 * is the graph of what really gets loaded; imports of types only are not in it.
 *
 *   check-imports.mjs [ROOT]    ROOT holds src/; exits 1 and names each forbidden import
 */
import { readdir } from 'node:fs/promises';
import { isBuiltin } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = path.resolve(process.argv[2] ?? fileURLToPath(new URL('..', import.meta.url)));

/** Folder → the folders (or files, by their paths) that it may import, besides itself, errors and limits. */
const MAY_IMPORT = {
  bundle: [],
  generation: ['bundle'],
  vfs: ['generation'],
  checks: ['bundle', 'generation', 'daemon/config-values.ts'],
  hooks: ['checks', 'daemon/config-values.ts'],
  opens: ['checks', 'generation'],
  system: [],
  store: ['system', 'generation'],
  aws: ['metrics'],
  keyring: ['aws', 'bundle'],
  keys: ['aws', 'bundle', 'keyring', 'secrets', 'source', 'system'],
  source: ['aws', 'bundle', 'system'],
  secrets: ['aws', 'bundle', 'checks/glob.ts', 'keyring', 'source', 'system'],
  fuse: ['vfs', 'generation', 'system'],
  metrics: [],
  control: ['system'],
  daemon: [
    'aws',
    'bundle',
    'checks',
    'control',
    'fuse',
    'generation',
    'hooks',
    'keyring',
    'metrics',
    'opens',
    'source',
    'store',
    'system',
    'vfs',
  ],
  doctor: [
    'aws',
    'bundle',
    'checks',
    'control',
    'daemon',
    'fuse/kernel/init.ts',
    'generation',
    'hooks',
    'keyring',
    'keys',
    'opens',
    'source',
    'system',
  ],
  cli: [
    'aws',
    'bundle',
    'checks',
    'control',
    'daemon',
    'doctor',
    'generation',
    'keyring',
    'keys',
    'secrets',
    'source',
    'system',
  ],
  processes: ['daemon'],
  'main.ts': ['cli'],
  'errors.ts': [],
  'limits.ts': [],
};

/** Folders that may touch neither the machine nor the clock. */
const PURE = [
  'bundle',
  'generation',
  'hooks',
  'opens',
  'metrics',
  'vfs',
  'checks',
  'keys/policy-document.ts',
  'keys/principals.ts',
  'keys/role-policy.ts',
  'keys/key-policy.ts',
  'keys/policy-text.ts',
  'keys/wrapped-by.ts',
  'errors.ts',
  'limits.ts',
  'doctor/expand.ts',
  'doctor/nginx-config.ts',
  'doctor/haproxy-config.ts',
  'doctor/tree.ts',
  'doctor/units.ts',
  'doctor/words.ts',
];
const PURE_BUILTINS = ['node:crypto', 'node:buffer', 'node:path/posix'];

/** Package → the only place that may import it. */
const ONLY = {
  'fuse-native': ['fuse/native.ts'],
  koffi: ['system'],
  yargs: ['cli'],
  pino: ['daemon', 'cli'],
  yaml: ['daemon', 'checks/yaml.ts'],
  zod: [
    'daemon',
    'control',
    'hooks',
    'checks/settings.ts',
    'checks/exec-settings.ts',
    'checks/values.ts',
    'opens/settings.ts',
  ],
  chokidar: ['source'],
  'tar-stream': ['bundle'],
  '@aws-sdk/client-s3': ['aws'],
  '@aws-sdk/client-kms': ['aws'],
  '@aws-sdk/client-sqs': ['aws'],
  '@aws-sdk/client-sns': ['aws'],
  '@aws-sdk/credential-providers': ['aws'],
};

const NETWORK = ['node:net', 'node:http', 'node:https', 'node:http2', 'node:tls', 'node:dns', 'node:dgram'];
const BUNDLES = [
  'aws/',
  'source/',
  'bundle/envelope.ts',
  'bundle/message.ts',
  'bundle/open-message.ts',
  'bundle/pairs.ts',
  'bundle/seal.ts',
  'secrets/',
  'bundle/archive.ts',
  'bundle/tar.ts',
  'bundle/ciphertexts.ts',
  'bundle/old-format.ts',
  'bundle/sneaker.ts',
  'tar-stream',
];
const SDKS = [
  '@aws-sdk/client-s3',
  '@aws-sdk/client-kms',
  '@aws-sdk/client-sqs',
  '@aws-sdk/client-sns',
  '@aws-sdk/credential-providers',
  'hpagent',
];
/** Process → what must not be reachable from its entry. */
const APART = [
  {
    entry: 'src/cli/mount-kernel.ts',
    never: [...NETWORK, ...BUNDLES, ...SDKS, 'yaml', 'daemon/config-yaml.ts'],
  },
  {
    entry: 'src/processes/server.ts',
    never: [...NETWORK, ...BUNDLES, ...SDKS, 'yaml', 'zod', 'node:child_process'],
  },
  {
    entry: 'src/processes/teller.ts',
    never: [...NETWORK, ...BUNDLES, ...SDKS, 'yaml', 'zod', 'node:child_process'],
  },
  { entry: 'src/processes/notifier.ts', never: [...BUNDLES, ...SDKS, 'yaml', 'zod', 'node:child_process'] },
  {
    entry: 'src/processes/haproxy.ts',
    never: [
      ...BUNDLES,
      ...SDKS,
      'yaml',
      'store/',
      'fuse/',
      'vfs/',
      'node:child_process',
      'node:tls',
      'node:http',
    ],
  },
  {
    entry: 'src/processes/trial.ts',
    never: [...BUNDLES, ...SDKS, 'yaml', 'zod', 'store/', 'vfs/', 'generation/', 'node:http', 'node:tls'],
  },
  {
    entry: 'src/processes/composer.ts',
    never: [
      ...NETWORK,
      ...BUNDLES,
      ...SDKS,
      'yaml',
      'zod',
      'store/',
      'fuse/',
      'vfs/',
      'keyring/',
      'node:child_process',
    ],
  },
  {
    entry: 'src/processes/agent.ts',
    never: [
      'store/',
      'fuse/',
      'vfs/',
      'generation/generation.ts',
      'bundle/envelope.ts',
      'bundle/open-message.ts',
      'secrets/',
    ],
  },
];

/** What needs Linux, or loads what is native, as soon as it is imported; and what only a mount needs. */
const OF_A_MOUNT = [
  'fuse/',
  'store/',
  'koffi',
  'fuse-native',
  'daemon/supervisor.ts',
  'system/cgroups.ts',
  'system/leases.ts',
  'system/mounts.ts',
  'system/own-cgroup.ts',
  'system/pidfd.ts',
  'system/privileges.ts',
  'system/threads.ts',
];
/** The list of commands; each that it loads runs on macOS as well, but for these. */
const COMMANDS = 'src/cli/commands.ts';
const LINUX_COMMANDS = ['src/cli/mount.ts', 'src/cli/doctor.ts'];

const files = (await readdir(`${root}/src`, { recursive: true })).filter((f) => f.endsWith('.ts'));
const { metafile } = await build({
  absWorkingDir: root,
  entryPoints: files.map((f) => `src/${f}`),
  outdir: 'unused',
  bundle: true,
  packages: 'external',
  platform: 'node',
  format: 'esm',
  write: false,
  metafile: true,
  logLevel: 'error',
});

const inside = (file, places) => places.some((p) => file === p || file.startsWith(`${p}/`));
const folderOf = (file) => file.split('/')[0];
const packageOf = (specifier) => {
  const [scope, name] = specifier.split('/');
  return scope.startsWith('@') ? `${scope}/${name}` : scope;
};

const problems = [];
for (const [input, { imports }] of Object.entries(metafile.inputs)) {
  const file = input.replace(/^src\//, '');
  const folder = folderOf(file);
  const allowed = MAY_IMPORT[folder];
  if (allowed === undefined) problems.push(`${input}: ${folder} has no rule in scripts/check-imports.mjs`);
  for (const { path: target, external } of imports) {
    if (external !== true) {
      const to = folderOf(target.replace(/^src\//, ''));
      if (to === folder || to === 'errors.ts' || to === 'limits.ts') continue;
      if (!(allowed ?? []).some((each) => each === to || `src/${each}` === target))
        problems.push(`${input} imports ${target}: ${folder} may not import ${to}`);
      continue;
    }
    if (isBuiltin(target)) {
      const name = target.startsWith('node:') ? target : `node:${target}`;
      if (inside(file, PURE) && !PURE_BUILTINS.includes(name))
        problems.push(`${input} imports ${name}: it is pure`);
      continue;
    }
    const only = ONLY[packageOf(target)];
    if (only !== undefined && !inside(file, only)) {
      problems.push(`${input} imports ${target}: only ${only.join(' and ')} may`);
    }
  }
}

// A process must not even be able to load what it is kept apart from: whatever can be reached from its entry, by imports
// of any kind, the ones that happen late included.
for (const { entry, never } of APART) {
  const reached = new Map([[entry, undefined]]);
  for (const file of reached.keys()) {
    for (const { path: target, external } of metafile.inputs[file]?.imports ?? []) {
      if (external !== true && !reached.has(target)) reached.set(target, file);
      const name =
        external === true ? (isBuiltin(target) ? target : packageOf(target)) : target.replace(/^src\//, '');
      if (!never.some((each) => (each.endsWith('/') ? name.startsWith(each) : name === each))) continue;
      const way = [target];
      for (let at = file; at !== undefined; at = reached.get(at)) way.unshift(at);
      problems.push(`${entry} must not reach ${target}: ${way.join(' → ')}`);
    }
  }
}

/** What is loaded with `entry`, before anything of it runs: file or package → who imports it. */
function loadedWith(entry) {
  const loaded = new Map([[entry, undefined]]);
  for (const file of loaded.keys())
    for (const { path: target, external, kind } of metafile.inputs[file]?.imports ?? []) {
      const name = external === true && !isBuiltin(target) ? packageOf(target) : target;
      if (kind !== 'dynamic-import' && !loaded.has(name)) loaded.set(name, file);
    }
  return loaded;
}

const commands = (metafile.inputs[COMMANDS]?.imports ?? []).filter(({ kind }) => kind === 'dynamic-import');
for (const { path: command } of commands) {
  for (const [name, importer] of LINUX_COMMANDS.includes(command) ? [] : loadedWith(command))
    if (
      OF_A_MOUNT.some((each) =>
        each.endsWith('/') ? name.startsWith(`src/${each}`) : [each, `src/${each}`].includes(name),
      )
    )
      problems.push(`${command} must not load ${name}, as ${importer} does: it runs on macOS, too`);
}
for (const [name, importer] of metafile.inputs['src/main.ts'] === undefined ? [] : loadedWith('src/main.ts'))
  if (
    name.startsWith('@aws-sdk/') ||
    commands.some(({ path: command }) => command === name && !name.endsWith('/version.ts'))
  )
    problems.push(`${importer} must not load ${name}: a command is loaded when it is called`);

// What purity forbids and no import shows: the clock, randomness, the environment, timers.
const { readFile } = await import('node:fs/promises');
const IMPURE =
  /\b(process\.(env|hrtime|nextTick)|Date\.now|new Date\(\)|performance\.now|Math\.random|set(Timeout|Interval|Immediate)\()/;
for (const file of files.filter((f) => inside(f, PURE))) {
  const lines = (await readFile(`${root}/src/${file}`, 'utf8')).split('\n');
  lines.forEach((line, i) => {
    const code = line.replace(/^\s*(\*|\/\/|\/\*).*/, '');
    const hit = IMPURE.exec(code);
    if (hit) problems.push(`src/${file}:${i + 1} uses ${hit[0]}: it is pure`);
  });
}

for (const problem of problems) process.stderr.write(`${problem}\n`);
process.stdout.write(`import rules: ${files.length} files, ${problems.length} problems\n`);
process.exitCode = problems.length === 0 ? 0 : 1;
