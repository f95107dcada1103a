/** The configs in the documents are configs: of a mount, of fstab, of IAM. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse, stringify } from 'yaml';
import { parseFstabMount } from '../../../src/cli/fstab.ts';
import { mount, optionsOf } from '../../../src/cli/mount.ts';
import { kernelMount } from '../../../src/cli/mount-kernel.ts';
import {
  resolveSettings,
  SECTION_NAMES,
  SETTING_NAMES,
  type SettingName,
} from '../../../src/daemon/config.ts';
import { parseConfig } from '../../../src/daemon/config-yaml.ts';
import type { Log } from '../../../src/daemon/log.ts';
import { runInProcess } from '../../support/cli.ts';
import { type Block, blocksOf, spans } from '../../support/documents.ts';

const KEY = 'arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab';
/** What a mount needs at the least. */
const LEAST = { bundle: '/srv/web.enc', mountpoint: '/srv/web', acceptKey: KEY };
const LOG: Log = { info: () => undefined, warn: () => undefined, error: () => undefined };

/** What a reader puts in place of an ellipsis, and of users that this machine does not have. */
function filled(text: string): string {
  return text
    .replaceAll(/arn:aws:kms:[^\s,\]]*…/g, KEY)
    .replaceAll(/\b(user|owner|group|socketOwner): (app|dba|nginx|haproxy)\b/g, '$1: daemon');
}

/** With what it leaves out, because it stands elsewhere in the document. */
function whole({ body }: Block): string {
  const given = Object.keys(parse(body) as object);
  const hasBundle = ['bundle', 'source', 'mounts'].some((key) => given.includes(key));
  const missing = Object.entries(LEAST).filter(
    ([key]) => !given.includes(key) && !(key === 'bundle' && hasBundle),
  );
  return `${stringify(Object.fromEntries(missing))}${filled(body)}`;
}

for (const block of blocksOf('config')) {
  test(`the config at ${block.place} is one, and a mount takes it`, async () => {
    const flags: Partial<Record<SettingName, unknown>> = {};
    const settings = resolveSettings({ flags, env: {}, config: parseConfig(block.place, whole(block)) });
    const { shared, parts } = await optionsOf(settings, {});
    const context = { settings, asWritten: (setting: string) => setting, untrustedConfig: undefined };
    const all = { ...context, config: undefined } as unknown as Parameters<typeof kernelMount>[1];
    kernelMount({ ...shared, parts }, all, { log: LOG, endsByUmount: false }, async () =>
      assert.fail('nothing changes'),
    );
  });
}

test('settings in the middle of a sentence are what a config takes', () => {
  const known: readonly string[] = [...SETTING_NAMES, ...SECTION_NAMES];
  const found = spans.filter(({ text }) => known.includes(/^(\w+): [^…]+$/.exec(text)?.[1] ?? ''));
  assert.ok(found.length >= 5, `${found.length} were found`);
  for (const { place, text } of found) parseConfig(`${place}: ${text}`, text);
});

test('what mounts, by fstab, are lines that mount(8) and its helper take', async () => {
  const [{ body }] = blocksOf('fstab');
  const lines = body.trim().split('\n');
  assert.ok(lines.length >= 2);
  for (const line of lines) {
    const [source = '', mountpoint = '', type, options = '', ...numbers] = filled(line).split(/\s+/);
    assert.deepEqual([type, ...numbers], ['secretsfs', '0', '0'], line);
    // Not sloppy (-s): what nobody knows is refused.
    const { bundle, config, flags } = parseFstabMount([source, mountpoint, '-o', options], mount.settings);
    if (bundle === undefined) assert.equal(config, `/etc/secretsfs/${source}.yaml`);
    else assert.deepEqual(flags, [`--accept-key=${KEY}`]);
  }
});

type Statement = Readonly<Record<string, string | readonly string[]>>;

const list = (value: string | readonly string[] | undefined) => [value ?? []].flat().sort();

test('the statements of IAM in docs/noticing.md are those that secretsfs policy prints', async () => {
  const arn = (service: string, name: string) => `arn:aws:${service}:eu-west-1:123456789012:${name}`;
  const statementsFor = async (...args: string[]): Promise<Statement[]> => {
    const asked = ['policy', 'instance', '--bundle', 's3://bucket/key', '--key', KEY, ...args];
    const { code, stdout, stderr } = await runInProcess(asked, { columns: 80 });
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout).Statement;
  };
  const printed = [
    ...(await statementsFor('--queue', 'https://sqs.eu-west-1.amazonaws.com/123456789012/name')),
    ...(await statementsFor('--topic', arn('sns', 'topic'))),
  ].map(({ Effect, Action, Resource }) => [Effect, list(Action), list(Resource)]);
  const written = blocksOf('statements').flatMap(({ body }): Statement[] => {
    const names = body.replaceAll(/\b(BUCKET|KEY|NAME|TOPIC)\b/g, (name) => name.toLowerCase());
    return JSON.parse(`[${names.replaceAll('REGION', 'eu-west-1').replaceAll('ACCOUNT', '123456789012')}]`);
  });
  assert.ok(written.length >= 6);
  for (const { Effect, Action, Resource } of written) {
    const statement = [Effect, list(Action), list(Resource)];
    assert.ok(
      printed.some((each) => JSON.stringify(each) === JSON.stringify(statement)),
      `${JSON.stringify(statement)}, printed were ${JSON.stringify(printed)}`,
    );
  }
});
