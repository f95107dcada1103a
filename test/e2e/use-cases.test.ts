/** What people come with, each line as they would type it; the product and Debian's aws are in PATH. */
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { createKey, type Moto, startMoto } from '../support/moto.ts';
import { run } from '../support/program.ts';
import { type StoreBench, storeBench, type, typed } from '../support/stores.ts';

let moto: Moto;
before(async () => {
  moto = await startMoto();
});
after(() => moto?.stop());

test('sneaker’s habit: one store, the key and the place from the environment, a dash for a pipe', async (t) => {
  const store = await storeBench(t, moto);
  const { bucket } = store;
  const other = await createKey(moto.url);
  const say = (line: string) => typed(store, line);
  assert.match(await say('secretsfs version'), /^secretsfs /);
  await say('openssl genrsa -out example.key 2048 2>/dev/null; echo s3cret > password');
  await say('secretsfs upload example.key ssl/example.key');
  await say('secretsfs upload - db/password < password');
  await say('echo old | secretsfs upload - /db/old');
  const listed = await say('secretsfs ls');
  for (const path of ['db/old', 'db/password', 'ssl/example.key'])
    assert.match(listed, new RegExp(`^${path} `, 'm'));
  assert.match(listed.split('\n')[0] ?? '', /path.*modified.*size.*etag/i);
  // One single-use data key each: no two objects have anything in common, and aws sees but ciphertext.
  const objects = (await say(`aws s3 ls --recursive s3://${bucket}/prod/`)).split('\n');
  assert.equal(objects.length, 3);
  assert.equal(await say(`aws s3 cp s3://${bucket}/prod/db/password - | grep -ac s3cret || true`), '0');
  const paths = async (patterns: string) =>
    (JSON.parse(await say(`secretsfs ls --json ${patterns}`)) as { path: string }[]).map(({ path }) => path);
  assert.deepEqual(await paths("'ssl/*,db/pass*'"), ['db/password', 'ssl/example.key']);
  assert.deepEqual(await paths("'*/*.key'"), ['ssl/example.key']);
  await say('secretsfs download ssl/example.key - | openssl rsa -noout -check 2>&1');
  await say('secretsfs download db/password out && cmp out password');
  await say('secretsfs rm db/old');
  assert.deepEqual(await paths(''), ['db/password', 'ssl/example.key']);
  assert.equal((await say(`aws s3 ls --recursive s3://${bucket}/prod/`)).split('\n').length, 2);

  // Other data keys, then another key: what was uploaded is what comes out.
  const etags = async () =>
    (JSON.parse(await say('secretsfs ls --json')) as { etag: string }[]).map(({ etag }) => etag);
  const old = await etags();
  await say('secretsfs rotate');
  for (const [i, etag] of (await etags()).entries()) assert.notEqual(etag, old[i]);
  await say(`KMS_KEY_ID=${other} secretsfs rotate`);
  await say('secretsfs download ssl/example.key again && cmp again example.key');
  assert.equal(await say(`secretsfs get db/password --accept-key ${other}`), 's3cret');

  // Packed for instances, under a key of their own, and unpacked there.
  const instances = await createKey(moto.url);
  await say(`secretsfs pack 'ssl/*' --key ${instances} pack.enc.tar`);
  await say(
    `mkdir unpacked; secretsfs unpack --accept-key ${instances} - - < pack.enc.tar | tar x -C unpacked`,
  );
  await say('cmp unpacked/ssl/example.key example.key');
});

const JAVA = `
import java.nio.file.*;
public class Reader {
  public static void main(String[] args) throws Exception {
    var password = Files.readString(Path.of(args[0], "db", "password"));
    var mail = new java.util.Properties();
    try (var in = Files.newInputStream(Path.of(args[0], "mail.properties"))) { mail.load(in); }
    var get = new ProcessBuilder("secretsfs", "get", "db/password").redirectError(ProcessBuilder.Redirect.INHERIT).start();
    var value = new String(get.getInputStream().readAllBytes());
    System.out.println(password + " " + mail.getProperty("mail.password") + " " + value + " " + get.waitFor());
  }
}
`;

const PYTHON = `
import configparser, pathlib, subprocess, sys
mount = pathlib.Path(sys.argv[1])
mail = configparser.ConfigParser()
mail.read_string("[mail]\\n" + (mount / "mail.properties").read_text())
value = subprocess.run(["secretsfs", "get", "db/password"], check=True, capture_output=True, text=True).stdout
print((mount / "db/password").read_text(), mail["mail"]["mail.password"], value, 0)
`;

const SHELL = `
. ./mnt/mail.sh
echo "$(cat mnt/db/password) $MAIL_PASSWORD $(secretsfs get db/password) $?"
`;

const PLAYBOOK = `
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - debug:
        msg: "{{ lookup('file', place ~ '/db/password') }} {{ lookup('ini', 'mail.password', type='properties', file=place ~ '/mail.properties') }} {{ lookup('pipe', 'secretsfs get db/password') }} 0"
`;

async function mounted(store: StoreBench): Promise<string> {
  const { bench, bucket, keyArn } = store;
  const mountpoint = bench.path('mnt');
  await mkdir(mountpoint);
  bench.after(() => run('umount', ['-l', mountpoint]));
  await typed(
    store,
    `mkdir -p conf/db && printf 'pg pass' > conf/db/password
     echo 'mail.password=smtp' > conf/mail.properties && echo 'MAIL_PASSWORD=smtp' > conf/mail.sh
     secretsfs pack --dir conf s3://${bucket}/conf.enc.tar`,
  );
  const { S3_PATH: _, ...env } = bench.env;
  await bench.mount([`s3://${bucket}/conf.enc.tar`, mountpoint, '--accept-key', keyArn, '--allow-swap'], env);
  return mountpoint;
}

test('configuration keys are read by Java, Python, shell and Ansible, as files and by get', async (t) => {
  const store = await storeBench(t, moto);
  const { bench } = store;
  const mountpoint = await mounted(store);
  await typed(store, "printf 'of the store' | secretsfs put db/password");
  const expected = 'pg pass smtp of the store 0';

  await writeFile(bench.path('Reader.java'), JAVA);
  await writeFile(bench.path('reader.py'), PYTHON);
  await writeFile(bench.path('reader.sh'), SHELL);
  await writeFile(bench.path('play.yml'), PLAYBOOK);
  assert.equal(await typed(store, `java Reader.java ${mountpoint}`), expected, 'Java');
  assert.equal(await typed(store, `python3 reader.py ${mountpoint}`), expected, 'Python');
  assert.equal(await typed(store, 'sh reader.sh'), expected, 'shell');
  const ansible = await type(
    store,
    `HOME=$PWD ansible-playbook -i localhost, -e place=${mountpoint} play.yml`,
  );
  assert.equal(ansible.code, 0, ansible.stdout + ansible.stderr);
  assert.match(ansible.stdout, new RegExp(`"msg": "${expected}"`), 'Ansible');
});
