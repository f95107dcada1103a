/** What doctor looks at: a machine, and the mount that a config describes, with what several checks ask of both asked once. */
import type { Status } from '../control/protocol.ts';
import type { AwsSettings } from '../daemon/agent-channel.ts';
import type { DriverName } from '../daemon/driver.ts';
import type { MountSource, PartOptions, SharedOptions } from '../daemon/mount-options.ts';
import type { SecretsfsError } from '../errors.ts';
import type { HookSettings } from '../hooks/settings.ts';
import type { Cloud } from './cloud.ts';
import type { Machine } from './machine.ts';
import type { Opened } from './opened.ts';
import { listsInMount } from './server-configs.ts';
import { loadUnit, type Unit } from './units.ts';

/** The mount as its settings describe it. */
export interface MountPlan
  extends Pick<
    SharedOptions,
    'mountpoint' | 'instance' | 'preserve' | 'allowSwap' | 'runtimeDir' | 'stateDir' | 'opens'
  > {
  readonly parts: readonly PartOptions[];
  readonly driver: DriverName;
  readonly uidBase: number | undefined;
  readonly hooks: readonly HookSettings[];
}

/** What reaches beyond the machine's files: asked by Subject, each once. */
export interface Outside {
  cloud(settings: AwsSettings): Cloud;
  status(plan: MountPlan): Promise<Status | SecretsfsError>;
  /** `lists`: paths in the bundle of haproxy's lists of certificates. */
  open(source: MountSource, part: PartOptions, lists: readonly string[]): Promise<Opened>;
  nowMs(): number;
}

export interface SubjectOptions {
  readonly machine: Machine;
  readonly outside: Outside;
  /** Of the systemd unit, where it is known although the config is not readable. */
  readonly instance: string | undefined;
  /** Absolute; undefined: all settings come from elsewhere. */
  readonly configPath: string | undefined;
  /** What is wrong with the settings; then there is no plan. */
  readonly configError: SecretsfsError | undefined;
  readonly plan: MountPlan | undefined;
  /** The unit that this program ships; undefined: it ships none. */
  readonly shippedUnit: string | undefined;
  /** Names of variables about AWS that the unit sets, which are looked with. */
  readonly unitSets: readonly string[];
  /** What of the unit may set more of them, and can't be told. */
  readonly unitHides: readonly string[];
}

export class Subject {
  readonly machine: Machine;
  readonly outside: Outside;
  readonly instance: string | undefined;
  readonly configPath: string | undefined;
  readonly configError: SecretsfsError | undefined;
  readonly plan: MountPlan | undefined;
  readonly shippedUnit: string | undefined;
  readonly unitSets: readonly string[];
  readonly unitHides: readonly string[];
  readonly #asked = new Map<string, unknown>();

  constructor(options: SubjectOptions) {
    this.machine = options.machine;
    this.outside = options.outside;
    this.instance = options.instance;
    this.configPath = options.configPath;
    this.configError = options.configError;
    this.plan = options.plan;
    this.shippedUnit = options.shippedUnit;
    this.unitSets = options.unitSets;
    this.unitHides = options.unitHides;
  }

  /** What the running mount says of itself, or why it says nothing; undefined without a plan. */
  async status(): Promise<Status | SecretsfsError | undefined> {
    const { plan } = this;
    if (plan === undefined) return undefined;
    return this.#once('status', () => this.outside.status(plan));
  }

  /** The newest bundle of a source, opened and wiped again. Throws SecretsfsError where it can't be had. */
  opened(part: PartOptions, source: MountSource): Promise<Opened> {
    return this.#once(`open ${part.directory ?? ''} ${source.bundle}`, async () =>
      this.outside.open(source, part, belowPart(await this.#lists(), part)),
    );
  }

  cloud(settings: AwsSettings): Cloud {
    return this.#once(`cloud ${JSON.stringify(settings)}`, () => this.outside.cloud(settings));
  }

  /** As systemd would read it; undefined: it is not installed. */
  unit(name: string): Promise<Unit | undefined> {
    return this.#once(`unit ${name}`, () => loadUnit(this.machine, name));
  }

  /** The unit of the mount, by its template where no instance is known. */
  mountUnit(): Promise<Unit | undefined> {
    return this.unit(unitName(this.instance));
  }

  #lists(): Promise<readonly string[]> {
    return this.#once('lists', () => listsInMount(this));
  }

  #once<T>(key: string, ask: () => T): T {
    if (!this.#asked.has(key)) this.#asked.set(key, ask());
    return this.#asked.get(key) as T;
  }
}

function belowPart(paths: readonly string[], { directory }: PartOptions): string[] {
  const prefix = directory === undefined ? '' : `${directory}/`;
  return paths.flatMap((path) => (path.startsWith(prefix) ? [path.slice(prefix.length)] : []));
}

export function unitName(instance: string | undefined): string {
  return `secretsfs@${instance ?? ''}.service`;
}
