/** What a scan of a directory can't look at is told of, each: a deletion goes by it. */
import assert from 'node:assert/strict';
import { mkdir, realpath, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { parseKeyArn } from '../../../src/keyring/spec.ts';
import { scanFiles } from '../../../src/keys/scan-files.ts';
import { UsageAudit } from '../../../src/keys/usage.ts';
import { temporaryDirectory } from '../../support/temporary.ts';

const ARN = 'arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab';

async function scan(root: string) {
  const arn = parseKeyArn(ARN) ?? assert.fail();
  const facts = { state: 'Enabled', description: '', created: undefined, managedByAws: false };
  const rest = { spec: 'SYMMETRIC_DEFAULT', origin: 'AWS_KMS', replicas: [], deletionDate: undefined };
  const nobody = () => assert.fail('nobody is asked');
  const audit = new UsageAudit({ arn, ...facts, ...rest }, { describe: nobody, opens: nobody });
  const found: string[] = [];
  for await (const { location } of scanFiles(root, audit, [root])) found.push(path.basename(location));
  return { found: found.sort(), unseen: audit.usage.unseen };
}

test('a file whose name is not UTF-8 is told of as not seen', async (t) => {
  const root = await realpath(await temporaryDirectory(t));
  await writeFile(Buffer.concat([Buffer.from(`${root}/caf`), Buffer.from([0xe9])]), 'x');
  await writeFile(path.join(root, 'whole'), 'x');
  const { found, unseen } = await scan(root);
  assert.deepEqual(found, ['whole']);
  assert.match(unseen.map(({ why }) => why).join(), /^its name is not UTF-8/);
});

test('a symlink that leads out of what is looked at is told of as not seen, and one within it is not', async (t) => {
  const root = await realpath(await temporaryDirectory(t));
  await mkdir(path.join(root, 'dir'));
  await writeFile(path.join(root, 'dir', 'file'), 'x');
  await symlink('dir/file', path.join(root, 'within'));
  await symlink('/etc/hostname', path.join(root, 'out'));
  await symlink('nowhere', path.join(root, 'dangling'));
  const { found, unseen } = await scan(root);
  assert.deepEqual(found, ['file']);
  const names = unseen.map(({ location }) => path.basename(location)).sort();
  assert.deepEqual(names, ['dangling', 'out']);
});
