/** `hooks:` of the config file: who is told of a new generation, how, and where to look whether it arrived. */
import * as z from 'zod';
import { glob } from '../checks/values.ts';
import { duration, text } from '../daemon/config-values.ts';

export const HOOKS_MAX = 64;
export const PROBES_MAX = 64;
const TIMEOUT_DEFAULT_MS = 30_000;
const DEBOUNCE_DEFAULT_MS = 1_000;

/** As in /etc/signal names, without SIG: what services take for "read your files again". */
export const SIGNALS = ['HUP', 'USR1', 'USR2', 'INT', 'TERM', 'QUIT', 'WINCH'] as const;

const name = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'must be 1 to 64 of A-Z a-z 0-9 . _ -');
/** Nothing relative: it would depend on where the program was started. And no `..`, which a symlink leads elsewhere. */
const absolute = z
  .string()
  .refine(
    (value) => /^\/[^\0]+$/.test(value) && !value.split('/').some((part) => part === '.' || part === '..'),
    'must be an absolute path without . and ..',
  );
/** No leading dash: none may be taken for an option. */
const unit = z
  .string()
  .regex(/^[A-Za-z0-9_:.\\@][A-Za-z0-9_:.\\@-]{0,254}$/, 'must be the name of a unit such as nginx.service')
  .transform((value) =>
    /\.(service|socket|target|path|timer|mount|scope|slice)$/.test(value) ? value : `${value}.service`,
  );
const inMount = z
  .string()
  .refine(
    (value) => value !== '' && !value.split('/').some((part) => part === '' || part === '.' || part === '..'),
    'must be a path inside the mount, without a slash at its beginning',
  );
/** Nothing that could be sent to a command line as more than one word. */
const address = z
  .string()
  .max(300)
  .refine(
    (value) => parseAddress(value) !== undefined,
    'must be host:port, [v6]:port or the path of a socket',
  );

/** How to reach a server: undefined for what is no address. */
export function parseAddress(
  value: string,
): { readonly path: string } | { readonly host: string; readonly port: number } | undefined {
  if (value.startsWith('/')) return /^\/[^\0]{1,106}$/.test(value) ? { path: value } : undefined;
  const [, v6, host, digits] =
    /^(?:\[([0-9A-Fa-f:.%A-Za-z]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})$/.exec(value) ?? [];
  const port = Number(digits);
  const found = v6 ?? host;
  return found === undefined || port < 1 || port > 65535 ? undefined : { host: found, port };
}

const probeSchema = z.strictObject({
  address,
  /** Sent as SNI; a server with one certificate needs none. */
  servername: z
    .string()
    .regex(/^[A-Za-z0-9_*-][A-Za-z0-9._*-]{0,252}$/, 'must be a host name')
    .optional(),
  /** Of the certificate whose serial is expected, inside the mount. */
  certificate: inMount,
});
export type ProbeSettings = z.infer<typeof probeSchema>;
const probeList = z.array(probeSchema).max(PROBES_MAX);
const probes = probeList.default([]);

const nginxSchema = z.strictObject({
  binary: absolute.default('/usr/sbin/nginx'),
  config: absolute.optional(),
  /** Of the master, which is then sent SIGHUP; else it is left to `nginx -s reload`. */
  pidfile: absolute.optional(),
  /** Reloaded by systemctl instead. */
  unit: unit.optional(),
  probes,
});
const haproxySchema = z.strictObject({
  socket: absolute.default('/run/haproxy/admin.sock'),
  /** Who may own the directory of the socket, beside root. */
  socketOwner: text.optional(),
  /** Who reads the files and speaks to the socket. */
  user: text.optional(),
  /** The mountpoint as haproxy's configuration writes it. */
  directory: absolute.optional(),
  /** Of the master, which is sent SIGUSR2 where the socket is not enough. */
  pidfile: absolute.optional(),
  unit: unit.optional(),
  probes,
});
const systemdSchema = z
  .strictObject({ reload: z.array(unit).max(32).default([]), restart: z.array(unit).max(32).default([]) })
  .refine(({ reload, restart }) => reload.length + restart.length > 0, 'needs reload: or restart:');
const signalSchema = z.strictObject({
  pidfile: absolute,
  signal: z
    .string()
    .transform((value) => value.replace(/^SIG/, ''))
    .pipe(z.enum(SIGNALS, `must be one of ${SIGNALS.join(', ')}`))
    .default('HUP'),
});

const hookSchema = z
  .strictObject({
    name,
    /** Globs over paths inside the mount; none: any path. */
    match: z.array(glob).min(1).max(64).optional(),
    timeout: duration
      .refine((ms) => ms >= 100 && ms <= 3_600_000, 'must be from 100ms to 1h')
      .default(TIMEOUT_DEFAULT_MS),
    debounce: duration.refine((ms) => ms <= 600_000, 'must be at most 10m').default(DEBOUNCE_DEFAULT_MS),
    /** Also run for the first generation of a mount. */
    atStart: z.boolean().default(false),
    /** An argv; the program by its absolute path. */
    run: z.tuple([absolute], z.string()).optional(),
    /** Who `run` runs as: root, unless it is named. */
    user: text.optional(),
    nginx: nginxSchema.optional(),
    haproxy: haproxySchema.optional(),
    systemd: systemdSchema.optional(),
    signal: signalSchema.optional(),
    /** Beside run, systemd and signal; nginx and haproxy have their own. */
    probes: probeList.optional(),
  })
  .transform((hook, context) => {
    const { run, nginx, haproxy, systemd, signal, user, probes, ...common } = hook;
    const refuse = (message: string) => {
      context.addIssue({ code: 'custom', message });
      return z.NEVER;
    };
    const kinds = [run, nginx, haproxy, systemd, signal].filter((each) => each !== undefined);
    if (kinds.length !== 1) return refuse('needs exactly one of run, nginx, haproxy, systemd and signal');
    if (user !== undefined && run === undefined) return refuse('has a user, which is for run');
    const own = nginx?.probes ?? haproxy?.probes;
    if (own !== undefined && probes !== undefined) return refuse('has probes twice');
    const action =
      run !== undefined
        ? ({ kind: 'run', run, user } as const)
        : nginx !== undefined
          ? ({ kind: 'nginx', ...nginx } as const)
          : haproxy !== undefined
            ? ({ kind: 'haproxy', ...haproxy } as const)
            : systemd !== undefined
              ? ({ kind: 'systemd', ...systemd } as const)
              : ({ kind: 'signal', ...(signal as NonNullable<typeof signal>) } as const);
    return { ...common, match: common.match ?? ['**'], probes: own ?? probes ?? [], action };
  });

export const hooksSchema = z
  .array(hookSchema)
  .max(HOOKS_MAX)
  // Not refine(), which also looks at what was refused already.
  .transform((hooks, context) => {
    const refuse = (message: string) => context.addIssue({ code: 'custom', message });
    if (new Set(hooks.map(({ name }) => name)).size < hooks.length) refuse('must not have two of one name');
    const count = hooks.reduce((sum, { probes }) => sum + probes.length, 0);
    if (count > PROBES_MAX) refuse(`has ${count} probes, want at most ${PROBES_MAX}`);
    return hooks;
  });

/** One hook, with its defaults. */
export type HookSettings = z.infer<typeof hooksSchema>[number];
export type Action = HookSettings['action'];
export type RunAction = Extract<Action, { kind: 'run' }>;
export type NginxAction = Extract<Action, { kind: 'nginx' }>;
export type HaproxyAction = Extract<Action, { kind: 'haproxy' }>;
export type SystemdAction = Extract<Action, { kind: 'systemd' }>;
export type SignalAction = Extract<Action, { kind: 'signal' }>;
