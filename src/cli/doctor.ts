import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { AwsAccess } from '../aws/access.ts';
import { ask } from '../control/client.ts';
import type { AwsSettings } from '../daemon/agent-channel.ts';
import { resolveSettings, type SettingName } from '../daemon/config.ts';
import { AwsCloud } from '../doctor/aws-cloud.ts';
import { CHECKS } from '../doctor/checks.ts';
import { MACHINE } from '../doctor/machine.ts';
import { openSource } from '../doctor/opened.ts';
import { runChecks } from '../doctor/run.ts';
import { type MountPlan, type Outside, Subject, unitName } from '../doctor/subject.ts';
import { applyTo, environmentOf, type UnitEnvironment } from '../doctor/unit-environment.ts';
import { loadUnit } from '../doctor/units.ts';
import { EXIT_CODES, SecretsfsError, UsageError } from '../errors.ts';
import { type Command, type Context, optionalTextArg } from './command.ts';
import { countsOf, printFindings } from './doctor-report.ts';
import { mount, optionsOf } from './mount.ts';
import { AWS_SETTINGS } from './mount-settings.ts';
import { STATUS_MS_MAX } from './targets.ts';

/** Where the unit looks. */
const CONFIGS = '/etc/secretsfs';
const SETTINGS: readonly SettingName[] = ['driver', 'runtimeDir', 'stateDir', ...AWS_SETTINGS];

export const doctor: Command = {
  usage: 'doctor [instance]',
  settings: SETTINGS,
  readsConfig: true,
  build: (yargs) =>
    yargs
      .positional('instance', {
        type: 'string',
        describe: `a mount by its unit: its config is ${CONFIGS}/INSTANCE.yaml [default: the only one there]`,
      })
      .option('strict', {
        type: 'boolean',
        default: false,
        describe: 'warnings, and what could not be seen, end with 11 too',
      }),
  async run(args, context) {
    const { ui } = context;
    const subject = await subjectOf(args, context);
    const findings = await ui.progress('looking', () => runChecks(CHECKS, subject));
    const counts = countsOf(findings);
    if (context.json)
      ui.printJson({
        instance: subject.instance ?? null,
        config: subject.configPath ?? null,
        counts,
        findings,
      });
    else printFindings(findings, ui);
    const isBad = counts.problem > 0 || (args['strict'] === true && counts.warning + counts.unknown > 0);
    return isBad ? EXIT_CODES.findings : EXIT_CODES.ok;
  },
};

async function subjectOf(args: Readonly<Record<string, unknown>>, context: Context): Promise<Subject> {
  const { env } = context;
  const { configPath, instance } = await placeOf(args, env);
  // Before anything asks AWS: the SDK reads the process's own environment.
  const ofUnit = instance === undefined ? undefined : await takeOver(instance, env);
  const found = await planOf(configPath, instance, args, env);
  return new Subject({
    machine: MACHINE,
    outside: outsideOf(env, found.plan),
    instance: instance ?? found.plan?.instance,
    configPath,
    configError: found.error,
    plan: found.plan,
    shippedUnit: shippedUnit(),
    unitSets: [...(ofUnit?.found.keys() ?? [])],
    unitHides: ofUnit?.leftOut ?? [],
  });
}

/** What the unit says of AWS goes before what this shell does: the mount has it. */
async function takeOver(instance: string, env: NodeJS.ProcessEnv): Promise<UnitEnvironment | undefined> {
  // What hides it from us is a finding of the checks of the unit.
  const unit = await loadUnit(MACHINE, unitName(instance)).catch(() => undefined);
  if (unit === undefined) return undefined;
  const ofUnit = await environmentOf(unit, instance, MACHINE);
  applyTo(env, ofUnit.found);
  return ofUnit;
}

/** Which config, and the instance that its unit would call the mount. Throws UsageError where there are several to choose from. */
async function placeOf(
  args: Readonly<Record<string, unknown>>,
  env: NodeJS.ProcessEnv,
): Promise<{ readonly configPath: string | undefined; readonly instance: string | undefined }> {
  const given = optionalTextArg(args, 'config') ?? (env['SECRETSFS_CONFIG'] || undefined);
  const instance = optionalTextArg(args, 'instance');
  if (given !== undefined) {
    const configPath = path.resolve(given);
    const ofUnit = path.dirname(configPath) === CONFIGS ? path.basename(configPath, '.yaml') : undefined;
    return { configPath, instance: instance ?? ofUnit };
  }
  if (instance !== undefined) return { configPath: `${CONFIGS}/${instance}.yaml`, instance };
  const none = { configPath: undefined, instance: undefined };
  if (env['SECRETSFS_BUNDLE']) return none;
  const all = await readdir(CONFIGS).catch(({ code }: NodeJS.ErrnoException) =>
    code === 'EACCES' ? undefined : [],
  );
  // Who may not look must not hear that there is nothing: reading it as a file says why.
  if (all === undefined) return { configPath: CONFIGS, instance: undefined };
  const names = all.filter((name) => name.endsWith('.yaml'));
  const [only, ...more] = names.map((name) => path.basename(name, '.yaml')).sort();
  if (only === undefined) return none;
  if (more.length === 0) return { configPath: `${CONFIGS}/${only}.yaml`, instance: only };
  throw new UsageError(`${names.length} mounts have a config in ${CONFIGS}: ${[only, ...more].join(', ')}`, {
    hint: 'name the one you mean: secretsfs doctor INSTANCE',
  });
}

/** What a mount by these settings would be, or why there can be none. */
async function planOf(
  configPath: string | undefined,
  instance: string | undefined,
  args: Readonly<Record<string, unknown>>,
  env: NodeJS.ProcessEnv,
): Promise<{ readonly plan?: MountPlan; readonly error?: SecretsfsError }> {
  try {
    const config =
      configPath === undefined
        ? undefined
        : (await import('./config-file.ts')).readConfigFile(configPath).settings;
    // As mount takes them: from the environment too.
    const typed = Object.fromEntries(mount.settings.map((name) => [name, args[name]]));
    const layered = resolveSettings({ flags: { ...typed, instance }, env, config });
    const { shared, parts, driver } = await optionsOf(layered, env);
    return { plan: { ...shared, parts, driver, uidBase: layered.uidBase, hooks: layered.hooks ?? [] } };
  } catch (error) {
    if (error instanceof SecretsfsError) return { error };
    throw error;
  }
}

function outsideOf(env: NodeJS.ProcessEnv, plan: MountPlan | undefined): Outside {
  const known = new Map<string, AwsAccess>();
  const access = (settings: AwsSettings): AwsAccess => {
    const key = JSON.stringify(settings);
    const made = known.get(key) ?? new AwsAccess({ env, ...settings });
    known.set(key, made);
    return made;
  };
  return {
    nowMs: Date.now,
    cloud: (settings) => new AwsCloud(access(settings), env, settings.roleArn),
    async status({ runtimeDir, instance }) {
      try {
        return await ask(runtimeDir, instance, 'status', STATUS_MS_MAX);
      } catch (error) {
        if (error instanceof SecretsfsError) return error;
        throw error;
      }
    },
    open: (source, part, lists) =>
      openSource(source, part, {
        sourceAws: access(source.aws),
        keyAws: access(part.aws),
        preserve: plan?.preserve === true,
        nowMs: Date.now(),
        lists,
      }),
  };
}

/** Put in by the build: the text of systemd/secretsfs@.service. However the program was installed, it knows its own unit. */
declare const SECRETSFS_UNIT: string;

function shippedUnit(): string | undefined {
  return typeof SECRETSFS_UNIT === 'string' ? SECRETSFS_UNIT : undefined;
}
