import assert from 'node:assert/strict';
import { test } from 'node:test';
import { proxyFromEnvironment } from '../../../src/aws/proxy.ts';
import { ConfigError } from '../../../src/errors.ts';

const kms = { protocol: 'https:', hostname: 'kms.eu-west-1.amazonaws.com' };
const proxyOf = (
  env: NodeJS.ProcessEnv,
  target: { protocol: string; hostname: string; port?: number } = kms,
) => proxyFromEnvironment(env)(target)?.href;

test('each scheme has its proxy, and the lower-case variable wins', () => {
  const env = { HTTPS_PROXY: 'http://upper:1', https_proxy: 'http://lower:1', HTTP_PROXY: 'http://plain:2' };
  assert.equal(proxyOf(env), 'http://lower:1/');
  assert.equal(proxyOf(env, { protocol: 'http:', hostname: 'x' }), 'http://plain:2/');
  assert.equal(proxyOf({ HTTP_PROXY: 'http://plain:2' }), undefined);
  assert.equal(proxyOf({ ALL_PROXY: 'http://all:3' }), undefined);
  assert.equal(proxyOf({ https_proxy: '', HTTPS_PROXY: 'http://upper:1' }), undefined);
});

test('a proxy without a scheme is an http one', () => {
  assert.equal(proxyOf({ https_proxy: 'proxy.local:3128' }), 'http://proxy.local:3128/');
  assert.equal(proxyOf({ https_proxy: '//proxy.local:3128' }), 'http://proxy.local:3128/');
  assert.equal(proxyOf({ https_proxy: 'https://proxy.local' }), 'https://proxy.local/');
});

for (const [noProxy, direct] of [
  ['*', true],
  ['kms.eu-west-1.amazonaws.com', true],
  ['amazonaws.com', true],
  ['.amazonaws.com', true],
  [' x.y , AMAZONAWS.com ', true],
  ['amazonaws.com:443', true],
  ['amazonaws.com:8443', false],
  ['aws.com', false],
  ['azonaws.com', false],
  ['kms', false],
  ['10.0.0.0/8', false],
  ['', false],
] as const) {
  test(`NO_PROXY=${JSON.stringify(noProxy)} ${direct ? 'goes directly' : 'leaves the proxy'}`, () => {
    assert.equal(proxyOf({ https_proxy: 'http://p:1', no_proxy: noProxy }) === undefined, direct);
  });
}

test('NO_PROXY names a host with its port', () => {
  const env = { http_proxy: 'http://p:1', NO_PROXY: '127.0.0.1:5000,localhost:80' };
  assert.equal(proxyOf(env, { protocol: 'http:', hostname: '127.0.0.1', port: 5000 }), undefined);
  assert.equal(proxyOf(env, { protocol: 'http:', hostname: '127.0.0.1', port: 5001 }), 'http://p:1/');
  assert.equal(proxyOf(env, { protocol: 'http:', hostname: 'localhost' }), undefined);
});

test('what is not a URL is refused without being shown', () => {
  for (const text of ['http://', 'http://user:hunter2@:x', 'http://hunter2 x:y']) {
    assert.throws(
      () => proxyFromEnvironment({ HTTPS_PROXY: text }),
      (e: unknown) => e instanceof ConfigError && e.code === 'config-invalid' && !/hunter2/.test(e.message),
    );
  }
});
