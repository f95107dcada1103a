/** The manual pages: one of the program, one of each command, one of the config, one of the mount helper. Pure: name of the file → its text. */
import { inline, sectionOf, toMan } from './markdown.mjs';
import { bold, heading, italic, item, literal, page, paragraph, subheading, text } from './roff.mjs';

/** keys ls → secretsfs-keys-ls */
export const pageOf = (command) => `secretsfs-${command.replaceAll(' ', '-')}`;

/**
 * `signatures`: of every command. `variables`: flag → variable of the environment. `fstab`: of src/cli/fstab.ts. `cliAbi`: the text
 * of docs/cli-abi.md. `stamp`: `date` (YYYY-MM-DD) and `version`.
 */
export function manualPages({ signatures, variables, fstab, cliAbi, stamp }) {
  const pages = new Map([
    ['man1/secretsfs.1', page('secretsfs', 1, stamp, overview(signatures, cliAbi))],
    ['man5/secretsfs.yaml.5', page('secretsfs.yaml', 5, stamp, config(cliAbi))],
    ['man8/mount.secretsfs.8', page('mount.secretsfs', 8, stamp, mountHelper(signatures, variables, fstab))],
    ['man8/mount.fuse.secretsfs.8', '.so man8/mount.secretsfs.8\n'],
  ]);
  for (const signature of signatures) {
    const body = command(signature, variables, cliAbi);
    pages.set(`man1/${pageOf(signature.name)}.1`, page(pageOf(signature.name), 1, stamp, body));
  }
  return pages;
}

const nameSection = (name, describe) => [...heading('Name'), `${text(name)} \\- ${text(describe)}`];
const reference = (name, section) => `${bold(name)}(${section})`;
const seeAlso = (references) => [...heading('See also'), references.join(',\n')];

function overview(signatures, cliAbi) {
  return [
    ...nameSection('secretsfs', 'serve an encrypted bundle of secrets as files in memory'),
    ...heading('Synopsis'),
    `${bold('secretsfs')} ${italic('COMMAND')} [${italic('ARGUMENTS')}] [${italic('OPTIONS')}]`,
    ...heading('Description'),
    'A bundle is sealed under keys of AWS KMS, or of a file, and lies in S3 or on a disk.',
    `${bold('secretsfs mount')} serves what is in it as files, from memory, and a new bundle goes live by itself.`,
    'The other commands make bundles, keep single secrets, and look after keys and mounts.',
    ...heading('Commands'),
    ...signatures.flatMap(({ name, describe }) => item(reference(pageOf(name), 1), text(describe))),
    ...heading('Exit status'),
    ...toMan(sectionOf(cliAbi, 'Exit codes')),
    ...heading('Output'),
    ...toMan(sectionOf(cliAbi, 'Output')),
    ...seeAlso([reference('secretsfs.yaml', 5), reference('mount.secretsfs', 8)]),
  ];
}

function config(cliAbi) {
  const chapter = (title, heads = title) => [...heading(heads), ...toMan(sectionOf(cliAbi, title))];
  return [
    ...nameSection('secretsfs.yaml', 'settings of secretsfs'),
    ...heading('Synopsis'),
    `${bold('secretsfs')} ${italic('COMMAND')} ${bold('--config')} ${italic('FILE')}`,
    ...heading('Description'),
    'YAML: each setting is a key of the file. In the lists below the name of a setting is followed by its variable of the environment.',
    ...chapter('Settings'),
    ...chapter('Sections of the config'),
    ...chapter('A config that changes'),
    ...seeAlso([reference('secretsfs', 1), reference('secretsfs-mount', 1)]),
  ];
}

function mountHelper(signatures, variables, { OWN_OPTIONS, LETTERS, optionName }) {
  const { flags } = signatures.find(({ name }) => name === 'mount');
  const options = flags.filter((flag) => variables.has(flag.name));
  const tag = (name, takesValue) => bold(name) + (takesValue ? `=${italic('VALUE')}` : '');
  return [
    ...heading('Name'),
    'mount.secretsfs, mount.fuse.secretsfs \\- mount a bundle of secrets from fstab or by mount',
    ...heading('Synopsis'),
    ...[
      bold('mount -t secretsfs'),
      `[${bold('-o')} ${italic('OPTIONS')}]`,
      italic('SOURCE'),
      italic('DIRECTORY'),
    ],
    ...heading('Description'),
    `What ${reference('mount', 8)} runs for the types ${bold('secretsfs')} and ${bold('fuse.secretsfs')}, in ${reference('fstab', 5)} and in ${reference('systemd.mount', 5)}.`,
    'It returns once files are served;',
    `${reference('umount', 8)} ends the mount. Unlike a mount of ${bold('secretsfs@.service')}, nobody starts it again.`,
    ...item(
      italic('SOURCE'),
      `The name of a mount, whose settings are in ${bold('/etc/secretsfs/NAME.yaml')}; or a bundle, which is what has a slash in it: a path, or ${bold('s3://BUCKET/KEY')}. ${bold('secretsfs#')} may stand before both. ${bold('none')}: as the config says.`,
    ),
    ...item(italic('DIRECTORY'), text('The mountpoint: a directory, and empty.')),
    ...heading('Options'),
    ...Object.entries(OWN_OPTIONS).flatMap(([name, describe]) => item(tag(name, true), text(describe))),
    ...options.flatMap((flag) => item(tag(optionName(flag.name), flag.takesValue), explained(flag))),
    ...paragraph(
      `Options that every fstab has (${['defaults', 'ro', 'noauto', 'nofail', '_netdev', 'x-systemd.automount'].map(bold).join(', ')} and their like) are taken. Any other is refused.`,
    ),
    ...subheading('Letters'),
    `${reference('mount', 8)} gives them:`,
    ...Object.entries(LETTERS).flatMap(([letter, describe]) => item(bold(`-${letter}`), text(describe))),
    ...heading('Exit status'),
    ...item('0', text('It is mounted.')),
    ...item('1', text('An argument or option is wrong.')),
    ...item('4', text('An error in secretsfs.')),
    ...item('32', text('It could not be mounted: the message says why.')),
    ...heading('Examples'),
    ...literal([
      'web                       /srv/web-secrets  secretsfs  _netdev,nofail  0  0',
      's3://example-bundles/app  /srv/app-secrets  secretsfs  _netdev,nofail,accept-key=arn:aws:kms:...  0  0',
    ]),
    ...seeAlso([reference('secretsfs-mount', 1), reference('secretsfs.yaml', 5), reference('mount', 8)]),
  ];
}

function command(signature, variables, cliAbi) {
  const { name, describe, positionals, flags } = signature;
  const arguments_ = positionals.filter((each) => each.describe !== '');
  const settings = flags.filter((flag) => variables.has(flag.name));
  return [
    ...nameSection(pageOf(name), describe),
    ...heading('Synopsis'),
    synopsis(signature),
    ...heading('Description'),
    `${text(`${describe.slice(0, 1).toUpperCase()}${describe.slice(1)}`)}.`,
    ...jsonOf(name, cliAbi),
    ...(arguments_.length === 0 ? [] : heading('Arguments')),
    ...arguments_.flatMap((each) => item(italic(each.name.toUpperCase()), explained(each))),
    ...heading('Options'),
    ...groupsOf(flags).flatMap(([group, members]) => [
      ...(group === 'Options' ? [] : subheading(group)),
      ...members.flatMap((flag) => item(tagOf(flag), explained(flag))),
    ]),
    ...(settings.length === 0 ? [] : environment(settings, variables)),
    ...heading('Exit status'),
    `0, or the code of what went wrong: see ${reference('secretsfs', 1)}.`,
    ...seeAlso([reference('secretsfs', 1), reference('secretsfs.yaml', 5)]),
  ];
}

function synopsis({ name, shown: arguments_, runsProgram }) {
  const words = arguments_.map(({ name: positional, required, several }) => {
    const shown = `${italic(positional.toUpperCase())}${several ? text('...') : ''}`;
    return required ? shown : `[${shown}]`;
  });
  const program = runsProgram ? [bold('--'), italic('PROGRAM'), `[${italic('ARGUMENTS')}]`] : [];
  return [bold(`secretsfs ${name}`), `[${italic('OPTIONS')}]`, ...words, ...program].join(' ');
}

/** What --json prints, as the table of cli-abi.md has it. */
function jsonOf(name, cliAbi) {
  const rows = sectionOf(cliAbi, 'JSON of each command').flatMap((line) => {
    const [, command, facts] = /^\| `([^`]+)` \| (.*) \|$/.exec(line) ?? [];
    return command === undefined ? [] : [{ command, facts }];
  });
  const at = rows.findIndex((row) => row.command === name);
  const facts = rows.slice(0, at + 1).findLast((row) => row.facts !== 'the same')?.facts;
  return facts === undefined ? [] : paragraph(`With ${bold('--json')}: ${inline(facts)}.`);
}

/** In the order in which --help shows them. */
function groupsOf(flags) {
  const groups = new Map();
  for (const flag of flags) {
    const group = flag.group.replace(/:$/, '');
    groups.set(group, [...(groups.get(group) ?? []), flag]);
  }
  return [...groups].sort(([a], [b]) => Number(b === 'Options') - Number(a === 'Options'));
}

const explained = ({ describe, choices, default: byDefault }) => {
  const more = [
    ...(choices.length === 0 ? [] : [`one of ${choices.join(', ')}`]),
    ...(byDefault === undefined || byDefault === '' ? [] : [`default: ${byDefault}`]),
  ];
  return text(more.length === 0 ? describe : `${describe} [${more.join('; ')}]`);
};

function tagOf({ name, alias, takesValue }) {
  const names = [...(alias === undefined ? [] : [bold(`-${alias}`)]), bold(`--${name}`)];
  return `${names.join(', ')}${takesValue ? ` ${italic('VALUE')}` : ''}`;
}

function environment(settings, variables) {
  return [
    ...heading('Environment'),
    'Where an option is not given, these are looked at, then the config:',
    ...literal(settings.map((flag) => variables.get(flag.name))),
    'More are in',
    `${reference('secretsfs.yaml', 5)}.`,
  ];
}
