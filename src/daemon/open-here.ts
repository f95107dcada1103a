/** Opening a bundle in the process that serves it, by the options of its mount. */
import type { AwsAccess } from '../aws/access.ts';
import { openUnwrapping } from '../keyring/keyring.ts';
import type { Activation, Held } from './activation.ts';
import type { MountOptions } from './mount-options.ts';
import type { Opened } from './rotation-ports.ts';
import type { Taking } from './take.ts';
import { openBundle } from './unseal.ts';

/** What takeHere() opens with. `activation`: where what was opened is built. Throws as openBundle() does. */
export function openHere(
  options: MountOptions,
  { aws, nowMs }: { readonly aws: AwsAccess; readonly nowMs: () => number },
  activation: () => Activation,
): Taking<Held>['open'] {
  const { name, context, formats, bytesMax, filesMax, acceptedKeys } = options;
  return async (fetched, sha256, floor): Promise<Omit<Opened<Held>, 'uploadedMs'>> => {
    const unwrapping = await openUnwrapping(acceptedKeys, aws);
    const old = { formats, acceptedKeys, aws, uploadedMs: fetched.uploadedMs };
    const policy = { name, context, floor, sha256, nowMs: nowMs(), bytesMax, filesMax, old };
    return openBundle(fetched.bytes, policy, unwrapping, (header, entries) =>
      activation().build(header, entries),
    );
  };
}
