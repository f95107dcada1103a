import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { applyTo, environmentOf } from '../../../src/doctor/unit-environment.ts';
import { parseUnit } from '../../../src/doctor/units.ts';
import { fakeMachine } from '../../support/fake-machine.ts';

async function environment(text: string, files: Readonly<Record<string, string>> = {}) {
  const unit = { file: '/u', text, assignments: parseUnit(`[Service]\n${text}`, '/u') };
  const { found, leftOut } = await environmentOf(unit, 'web', fakeMachine({ files }));
  assert.deepEqual(leftOut, []);
  return Object.fromEntries(found);
}

test('Environment= gives what is about AWS, with quotes and specifiers as systemd has them', async () => {
  assert.deepEqual(
    await environment(
      `Environment=AWS_REGION=eu-west-1 "AWS_PROFILE=two words" 'AWS_X=it''s' AWS_Y=a\\"b HTTPS_PROXY=http://p:1 no_proxy=.test
Environment=PATH=/x SECRETSFS_POLL=1s AWS_CONFIG_FILE=/etc/%i/aws AWS_Z=100%% X=`,
    ),
    {
      ...{ AWS_REGION: 'eu-west-1', AWS_PROFILE: 'two words', AWS_X: 'its', AWS_Y: 'a"b' },
      ...{ HTTPS_PROXY: 'http://p:1', no_proxy: '.test', AWS_CONFIG_FILE: '/etc/web/aws', AWS_Z: '100%' },
    },
  );
  assert.deepEqual(await environment('Environment=AWS_A=1\nEnvironment=\nEnvironment=AWS_B=2'), {
    AWS_B: '2',
  });
});

test('files of EnvironmentFile= go before it; one that is not there, or may not be read, gives nothing', async () => {
  const files = {
    '/etc/web/a.env': '# AWS_C=no\n AWS_A = "of a file" \n; x\nAWS_B=one\\\ntwo\nother=1\n',
    '/etc/web/b.env': "AWS_S='x\"y'\n",
  };
  const text = 'EnvironmentFile=-/etc/%i/*.env\nEnvironmentFile=-/gone\nEnvironment=AWS_A=1 AWS_D=4';
  assert.deepEqual(await environment(text, files), {
    AWS_A: 'of a file',
    AWS_B: 'onetwo',
    AWS_D: '4',
    AWS_S: 'x"y',
  });
});

test("what can't be told is named, without its value, and takes nothing else along", async () => {
  const closed = () => Promise.reject(new Error('EACCES'));
  const machine = { ...fakeMachine({ files: { '/a/b': 'AWS_F=known' } }), list: closed };
  const text = `[Service]
Environment=AWS_A=0 AWS_D=0
Environment=X=%b AWS_A=%H AWS_B=1 "AWS_C=a %m" AWS_D=%H AWS_F=%H
Environment=AWS_D=2
EnvironmentFile=/etc/%H/env
EnvironmentFile=-/a/*.env
EnvironmentFile=/a/closed
EnvironmentFile=/a/b`;
  const unit = { file: '/u', text, assignments: parseUnit(text, '/u') };
  const read = (file: string) => (file === '/a/closed' ? closed() : machine.read(file));
  const { found, leftOut } = await environmentOf(unit, 'web', { ...machine, read });
  assert.deepEqual(Object.fromEntries(found), { AWS_B: '1', AWS_D: '2', AWS_F: 'known' });
  const files = ['/etc/%H/env', '-/a/*.env', '/a/closed'].map((file) => `EnvironmentFile=${file}`);
  assert.deepEqual(leftOut, ['AWS_A', 'AWS_C', ...files]);
});

test('what a word of Environment= was quoted from is what it gives, whatever it is', async () => {
  const value = fc.string({ unit: 'grapheme' }).filter((text) => !/[\r\n\p{Cc}]/u.test(text));
  await fc.assert(
    fc.asyncProperty(value, fc.constantFrom('"', "'"), async (text, quote) => {
      const quoted = text.replace(/["'\\]/g, '\\$&').replaceAll('%', '%%');
      assert.deepEqual(await environment(`Environment=${quote}AWS_A=${quoted}${quote}`), { AWS_A: text });
    }),
  );
});

test('who one is comes from one place: half an identity of the unit takes out the other half of the shell', () => {
  const env = { AWS_ACCESS_KEY_ID: 'a', AWS_SESSION_TOKEN: 't', AWS_REGION: 'r', HOME: '/' };
  applyTo(env, new Map([['AWS_ENDPOINT_URL', 'u']]));
  assert.equal(env.AWS_SESSION_TOKEN, 't');
  applyTo(env, new Map([['AWS_PROFILE', 'web']]));
  assert.deepEqual({ ...env }, { AWS_REGION: 'r', HOME: '/', AWS_ENDPOINT_URL: 'u', AWS_PROFILE: 'web' });
  for (const name of ['AWS_SHARED_CREDENTIALS_FILE', 'AWS_CONFIG_FILE']) {
    const keys = { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 's' };
    applyTo(keys, new Map([[name, '/f']]));
    assert.deepEqual({ ...keys }, { [name]: '/f' });
  }
});
