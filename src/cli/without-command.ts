/** What is said where no command is named: help, the version, or what was meant. */
import { quote, UsageError } from '../errors.ts';
import { COMMANDS, type KnownCommand } from './commands.ts';
import { nearest } from './near.ts';
import type { Ui } from './ui.ts';
import { versionText } from './version.ts';
import { hang, wrap } from './width.ts';

/** What people try, of other programs. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  list: 'ls',
  remove: 'rm',
  delete: 'rm',
  move: 'mv',
  cat: 'get',
  show: 'inspect',
  umount: 'unmount',
  reload: 'remount',
  run: 'exec',
};

interface Screen {
  readonly ui: Ui;
  /** undefined: lines may be as long as they are. */
  readonly columns: number | undefined;
}

/** `group`: the commands of that group, where only that is named. Throws UsageError where neither help nor the version is asked for. */
export function withoutCommand(
  argv: readonly string[],
  group: readonly KnownCommand[] | undefined,
  screen: Screen,
): void {
  const name = argv[0]?.startsWith('-') ? undefined : argv[0];
  if (name === undefined && (argv.includes('--version') || isHelp(argv))) {
    screen.ui.printText(argv.includes('--version') ? versionText() : helpText(screen.columns));
    return;
  }
  if (name !== undefined && group !== undefined) {
    withoutCommandOf(name, group, argv, screen);
    return;
  }
  const misplaced =
    name === undefined ? COMMANDS.find((command) => argv.includes(command.name))?.name : undefined;
  if (misplaced !== undefined) {
    throw new UsageError('no command given: it comes first', {
      hint: `secretsfs ${misplaced}, then its options`,
    });
  }
  if (name === undefined)
    throw new UsageError('no command given', { hint: 'secretsfs --help lists the commands' });
  const near = meant(name, argv[1]);
  throw new UsageError(`unknown command ${quote(name.slice(0, 40))}`, {
    hint: near === undefined ? 'secretsfs --help lists the commands' : `did you mean "${near}"?`,
  });
}

function meant(name: string, next: string | undefined): string | undefined {
  const all = COMMANDS.map((command) => command.name);
  const groups = all.flatMap((each) => (each.includes(' ') ? [each.split(' ')[0] ?? ''] : []));
  const ofTwo =
    next === undefined
      ? undefined
      : nearest(
          `${name} ${next}`,
          all.filter((each) => each.includes(' ')),
        );
  return ofTwo ?? ELSEWHERE[name] ?? nearest(name, [...all, ...groups]);
}

/** `name` is a group's, and no command of it follows. */
function withoutCommandOf(
  name: string,
  group: readonly KnownCommand[],
  argv: readonly string[],
  { ui, columns }: Screen,
): void {
  if (isHelp(argv)) {
    ui.printText([`secretsfs ${name}:`, '', ...commandLines(group, columns)].join('\n'));
    return;
  }
  const given = argv[1]?.startsWith('-') ? undefined : argv[1];
  const words = group.map((command) => command.name.slice(name.length + 1));
  const near = given === undefined ? undefined : nearest(given, words);
  throw new UsageError(
    given === undefined
      ? `no command of ${name} given`
      : `unknown command ${quote(`${name} ${given.slice(0, 40)}`)}`,
    {
      hint:
        near === undefined
          ? `secretsfs ${name} --help lists the commands`
          : `did you mean "${name} ${near}"?`,
    },
  );
}

function helpText(columns: number | undefined): string {
  const narrowed = (line: string) => (columns === undefined ? [line] : wrap(line, columns));
  return [
    ...narrowed('secretsfs: serves an encrypted bundle of secrets as files in memory'),
    '',
    'Commands:',
    ...commandLines(COMMANDS, columns),
    '',
    ...narrowed('secretsfs COMMAND --help shows the options of a command.'),
    ...narrowed(
      'Five minutes without AWS: secretsfs keygen KEY; secretsfs pack --dir DIR --key local:KEY web.enc;',
    ),
    ...narrowed('secretsfs mount web.enc /mnt --key local:KEY'),
  ].join('\n');
}

function commandLines(commands: readonly KnownCommand[], columns: number | undefined): string[] {
  const width = Math.max(...commands.map((command) => command.name.length));
  return commands.flatMap(({ name, describe }) => hang(`  ${name.padEnd(width)}  `, describe, columns));
}

export function isHelp(argv: readonly string[]): boolean {
  return argv.includes('--help') || argv.includes('-h');
}
