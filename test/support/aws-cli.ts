/** Debian's aws command: the second client, which is not ours, reads and writes the same things. */
import { must } from './program.ts';

const AWS = '/usr/bin/aws';

/** Runs it against moto and returns what it prints. awscli 2.9 does not know AWS_ENDPOINT_URL. */
export async function awsCli(
  args: readonly string[],
  options: { readonly env: NodeJS.ProcessEnv; readonly cwd?: string; readonly stdin?: Uint8Array },
): Promise<string> {
  const env: NodeJS.ProcessEnv = { ...options.env, AWS_DEFAULT_REGION: 'eu-west-1', AWS_PAGER: '' };
  return must(AWS, ['--endpoint-url', env['AWS_ENDPOINT_URL'] ?? '', ...args], { ...options, env });
}
