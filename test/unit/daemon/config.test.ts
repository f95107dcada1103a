import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { flagName, resolveSettings, variableName } from '../../../src/daemon/config.ts';
import { parseConfig } from '../../../src/daemon/config-yaml.ts';
import { ConfigError, SecretsfsError } from '../../../src/errors.ts';

function refusal(yaml: string): ConfigError {
  try {
    parseConfig('web.yaml', yaml);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error;
  }
  assert.fail('the config was accepted');
}

test('a config file gives every kind of setting', () => {
  const yaml =
    'bundle: s3://b/web.enc\nacceptKey:\n  - local:/k\npoll: 5m\nmaxBytes: 128M\nmaxFiles: 7\npreserve: true\n';
  assert.deepEqual(parseConfig('web.yaml', yaml), {
    bundle: 's3://b/web.enc',
    acceptKey: ['local:/k'],
    poll: 300_000,
    maxBytes: 128 * 1024 * 1024,
    maxFiles: 7,
    preserve: true,
  });
});

test('an empty config file is no settings', () => {
  assert.deepEqual(parseConfig('web.yaml', ''), {});
  assert.deepEqual(parseConfig('web.yaml', '# nothing\n'), {});
});

test('an error in a config names file, line, column and key', () => {
  const error = refusal('bundle: web.enc\npoll: soon\n');
  assert.equal(error.code, 'config-invalid');
  assert.equal(
    error.message,
    'cannot use "web.yaml", line 2, column 7: poll: must be a time such as 500ms, 30s, 5m or 1h',
  );
});

test('an unknown key is refused where it stands, with the key that was meant', () => {
  const error = refusal('bundle: web.enc\naccept-key: [local:/k]\n');
  assert.match(error.message, /line 2, column 1: accept-key: is not a setting/);
  assert.equal(error.hint, 'did you mean acceptKey?');
  assert.match(refusal('colour: red\n').hint ?? '', /^known keys: bundle, /);
  for (const [slip, meant] of [
    ['polll', 'poll'],
    ['pol', 'poll'],
    ['rejion', 'region'],
    ['ounts', 'mounts'],
  ] as const)
    assert.equal(refusal(`${slip}: x`).hint, `did you mean ${meant}?`);
  const below = (key: string) => refusal(`mounts: { tls: { source: a, ${key}: x } }`).hint ?? '';
  assert.equal(below('accept-key'), 'did you mean acceptKey?');
  assert.equal(below('pol'), 'did you mean poll?');
  // Nothing that could not stand there.
  assert.match(below('driver'), /^known keys: source, name, /);
  assert.match(refusal('metrics: { port: 1 }').hint ?? '', /cli-abi/);
});

test('a wrong type is named, also inside a list', () => {
  assert.match(refusal('preserve: [1]\n').message, /line 1, column 11: preserve: /);
  assert.match(
    refusal('key:\n  - a\n  - 7\n').message,
    /line 2, column 3: key: entry 2 must be text, and is a number/,
  );
  assert.match(refusal('- a\n').message, /must be a mapping of settings/);
  assert.match(refusal('driver: zfs\n').message, /driver: must be auto, kernel or fuse-native/);
});

test('what is of a wrong type is told in words for people, and where', () => {
  for (const [yaml, problem] of [
    ['mounts:', 'mounts: must be a mapping (key: value), and has no value'],
    ['mounts: [a]', 'mounts: must be a mapping (key: value), and is a list'],
    ['mounts: a.sfs', 'mounts: must be a mapping (key: value), and is text'],
    ['mounts: { a: a.sfs }', 'mounts.a: must be a mapping (key: value), and is text'],
    ['mounts: { a: { key: local:k } }', 'mounts.a.source: is missing'],
    ['mounts: { a: { source: 7 } }', 'mounts.a.source: must be text, or a list, and is a number'],
    [
      'mounts: { a: { source: [a.sfs] } }',
      'mounts.a.source: entry 1 must be a mapping (key: value), and is text',
    ],
    ['metrics: true', 'metrics: must be a mapping (key: value), and is true or false'],
    ['metrics: { listen: 9464 }', 'metrics.listen: must be text, and is a number'],
  ] as const)
    assert.ok(refusal(yaml).message.endsWith(`: ${problem}`), refusal(yaml).message);
});

test('a key that could be taken for several is in quotes', () => {
  assert.match(refusal('mounts: { ..: { source: a } }').message, /: mounts\."\.\.": must be one name/);
  assert.match(refusal('mounts: { a/b: { source: a } }').message, /: mounts\."a\/b": must be one name/);
});

test('a config that is not YAML is refused with its line', () => {
  assert.match(refusal('bundle: web.enc\nname: "a\n').message, /line \d+, column \d+: /);
  assert.match(refusal('*missing').message, /line 1, column 1: /);
});

test('any text is a config or a ConfigError', () => {
  fc.assert(
    fc.property(
      fc.oneof(fc.string(), fc.json(), fc.string({ unit: fc.constantFrom(...':-[]{}&*!|>\'" \nab1') })),
      (yaml) => {
        try {
          parseConfig('x', yaml);
        } catch (error) {
          assert.ok(error instanceof ConfigError, String(error));
          assert.ok(!error.message.includes('\n'));
        }
      },
    ),
  );
});

test('a flag wins over SECRETSFS_*, that over the file, and that over KMS_KEY_ID', () => {
  const config = parseConfig('c', 'key: file\nname: file\nregion: file\n');
  const env = { KMS_KEY_ID: 'habit', SECRETSFS_NAME: 'env', SECRETSFS_REGION: 'env', S3_PATH: 's3://b/k' };
  const settings = resolveSettings({ flags: { name: 'flag', region: undefined }, env, config });
  assert.deepEqual(settings, { key: ['file'], name: 'flag', region: 'env', bundle: 's3://b/k' });
  assert.deepEqual(resolveSettings({ flags: {}, env: { KMS_KEY_ID: 'habit' } }), { key: ['habit'] });
  assert.deepEqual(resolveSettings({ flags: {}, env: { KMS_KEY_ID: '' } }), {});
});

test('a command with a store has it from S3_PATH, or else SNEAKER_S3_PATH, where nothing names one', () => {
  const storeOf = (env: NodeJS.ProcessEnv, config = '') =>
    resolveSettings({ flags: { store: undefined }, env, config: parseConfig('c', config) }).store;
  const habits = { S3_PATH: 's3://kms-secrets/a', SNEAKER_S3_PATH: 's3://sneaker/a' };
  assert.equal(storeOf(habits), 's3://kms-secrets/a');
  assert.equal(storeOf({ ...habits, S3_PATH: '' }), 's3://sneaker/a');
  assert.equal(storeOf(habits, 'store: s3://config/a'), 's3://config/a');
  assert.equal(storeOf({ ...habits, SECRETSFS_STORE: 's3://own/a' }, 'store: s3://config/a'), 's3://own/a');
});

test('a bad flag is a usage error, a bad variable a config error, each by its own name', () => {
  const code = (run: () => unknown): string => {
    try {
      run();
    } catch (error) {
      if (error instanceof SecretsfsError) return `${error.code}: ${error.message}`;
    }
    return 'accepted';
  };
  assert.match(
    code(() => resolveSettings({ flags: { maxBytes: 'lots' }, env: {} })),
    /^usage: cannot use --max-bytes: /,
  );
  assert.match(
    code(() => resolveSettings({ flags: { maxFiles: undefined }, env: { SECRETSFS_MAX_FILES: '0' } })),
    /^config-invalid: cannot use SECRETSFS_MAX_FILES: "0" must be a number from 1 to/,
  );
  assert.match(
    code(() => resolveSettings({ flags: { poll: '1ms' }, env: {} })),
    /--poll: "1ms" must be from 1s to 24h/,
  );
});

test('a list in the environment is separated by commas', () => {
  const env = { SECRETSFS_ACCEPT_KEY: 'local:/a,local:/b' };
  const expected = { acceptKey: ['local:/a', 'local:/b'] };
  assert.deepEqual(resolveSettings({ flags: { acceptKey: undefined }, env }), expected);
  assert.deepEqual(resolveSettings({ flags: { acceptKey: ['local:/a,local:/b'] }, env: {} }), expected);
  // Of a setting that the command does not take, and empty, it is not looked at.
  assert.deepEqual(resolveSettings({ flags: {}, env }), {});
  assert.deepEqual(
    resolveSettings({ flags: { acceptKey: undefined }, env: { SECRETSFS_ACCEPT_KEY: '' } }),
    {},
  );
});

test('flags and variables are named after settings', () => {
  assert.equal(flagName('acceptKey'), 'accept-key');
  assert.equal(variableName('acceptKey'), 'SECRETSFS_ACCEPT_KEY');
});

test('a config lists sources, each with its own region, profile, role and owner', () => {
  const yaml =
    "source:\n  - bundle: s3://a1b/web.enc\n    region: eu-west-1\n    expectedBucketOwner: '012345678901'\n  - bundle: /b\n    profile: p\n    roleArn: r\n";
  assert.deepEqual(parseConfig('web.yaml', yaml).source, [
    { bundle: 's3://a1b/web.enc', region: 'eu-west-1', expectedBucketOwner: '012345678901' },
    { bundle: '/b', profile: 'p', roleArn: 'r' },
  ]);
  // YAML takes digits for a number, and drops a leading zero.
  assert.equal(
    parseConfig('web.yaml', 'expectedBucketOwner: 12345678901').expectedBucketOwner,
    '012345678901',
  );
});

test('a mistake inside of a source is named with its place', () => {
  assert.match(refusal('source: []\n').message, /source: must name a bundle/);
  assert.match(
    refusal('source:\n  - bundle: a\n    regoin: x\n').message,
    /line 3, column 5: source\.0\.regoin: is not a setting/,
  );
  assert.match(refusal('source:\n  - region: x\n').message, /line 2, column 5: source\.0\.bundle: /);
  assert.match(refusal(`source:\n${'  - bundle: a\n'.repeat(9)}`).message, /at most 8/);
  assert.match(refusal('expectedBucketOwner: me\n').message, /twelve digits/);
  assert.match(refusal('queue: https://sqs\n').message, /URL of an SQS queue/);
  assert.match(refusal('topic: t\n').message, /ARN of an SNS topic/);
  assert.match(refusal('spread: 16m\n').message, /from 0s to 15m/);
  assert.match(refusal('unsealLimit: 0\n').message, /from 1 to 6000/);
});

test('a bundle that is named outside of the config replaces its sources, one out of habit does not', () => {
  const config = parseConfig('web.yaml', 'source:\n  - bundle: a\n');
  const flags = { bundle: undefined };
  assert.deepEqual(resolveSettings({ flags, env: { S3_PATH: 's3://b/k' }, config }), config);
  assert.deepEqual(resolveSettings({ flags: { bundle: 'b' }, env: {}, config }), { bundle: 'b' });
  assert.deepEqual(resolveSettings({ flags, env: { SECRETSFS_BUNDLE: 'b' }, config }), { bundle: 'b' });
  const both = parseConfig('web.yaml', 'bundle: b\nsource:\n  - bundle: a\n');
  assert.throws(() => resolveSettings({ flags, env: {}, config: both }), /both bundle and source/);
});

test('metrics are listened for on the loopback interface alone', () => {
  const listen = (address: string) =>
    parseConfig('c.yaml', `metrics: { listen: "${address}" }`).metrics?.listen;
  assert.deepEqual(listen('127.0.0.1:9464'), { host: '127.0.0.1', port: 9464 });
  assert.deepEqual(listen('127.1.2.3:1024'), { host: '127.1.2.3', port: 1024 });
  assert.deepEqual(listen('[::1]:65535'), { host: '::1', port: 65_535 });
  const refused = [
    '0.0.0.0:9464',
    '10.0.0.1:9464',
    ':9464',
    '9464',
    'localhost:9464',
    '[::]:9464',
    '::1:9464',
    '127.0.0.1',
  ];
  const ports = [
    '127.0.0.1:80',
    '127.0.0.1:1023',
    '127.0.0.1:65536',
    '127.0.0.1:0x2000',
    '127.0.0.256:9464',
    '127.00.0.1:9464',
  ];
  for (const wrong of [...refused, ...ports]) {
    assert.throws(
      () => listen(wrong),
      /metrics\.listen: must be 127\.0\.0\.1:PORT .*metrics have no password/,
      wrong,
    );
  }
  assert.throws(() => parseConfig('c.yaml', 'metrics: { port: 1 }'), /metrics\.port: is not a setting/);
});

test('mounts: has what each bundle is told, and its source may be one text', () => {
  const yaml =
    'mountpoint: /m\nmounts:\n  tls: { source: s3://b/t.sfs, poll: 5s, required: false }\n  app:\n    source:\n      - bundle: /a.sfs\n';
  assert.deepEqual(parseConfig('web.yaml', yaml).mounts, {
    tls: { source: [{ bundle: 's3://b/t.sfs' }], poll: 5_000, required: false },
    app: { source: [{ bundle: '/a.sfs' }] },
  });
});

test('what mounts: can not be is refused where it stands', () => {
  const of = (part: string, directory = 'tls') => `mounts:\n  ${directory}: ${part}\n`;
  const many = Array.from({ length: 17 }, (_, i) => `  d${i}: { source: a }\n`).join('');
  const refused: [string, RegExp][] = [
    ['mounts: {}\n', /mounts: must have from 1 to 16 bundles/],
    [`mounts:\n${many}`, /from 1 to 16/],
    [of('{}'), /line 2, column 8: mounts\.tls\.source/],
    [of('{ source: a }', 'a/b'), /"a\/b": must be one name/],
    [of('{ source: a }', '..'), /must be one name/],
    [`${of('{ source: a }')}  tls: { source: b }\n`, /unique/],
    [of('{ source: a, mountpoint: /x }'), /mounts\.tls\.mountpoint: is not a setting/],
    [
      of('{ source: a, checks: { exec: [{ name: x, run: [/bin/true] }] } }'),
      /mounts\.tls\.checks\.exec: belongs beside/,
    ],
    [of(`{ source: a, files: [{ match: '${'x'.repeat(510)}', mode: '0440' }] }`), /below tls/],
  ];
  for (const [yaml, message] of refused) assert.match(refusal(yaml).message, message, yaml);
});

test('mounts: and a bundle beside it are refused, but out of habit', () => {
  const config = parseConfig('web.yaml', 'mounts: { tls: { source: a } }\n');
  const flags = { bundle: undefined };
  assert.equal(resolveSettings({ flags, env: { S3_PATH: 's3://b/k' }, config }).bundle, undefined);
  for (const layers of [
    { flags: { bundle: 'b' }, env: {}, config },
    { flags, env: { SECRETSFS_BUNDLE: 'b' }, config },
    { flags, env: {}, config: { ...config, bundle: 'b' } },
    { flags, env: {}, config: { ...config, source: [{ bundle: 'b' }] } },
  ]) {
    assert.throws(() => resolveSettings(layers), {
      code: 'config-invalid',
      message: /both mounts and a bundle/,
    });
  }
});
