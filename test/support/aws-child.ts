/** One question to AwsAccess in a process of its own: `node aws-child.js OPTIONS QUESTION [ARGUMENT]`, JSON on stdout. */
import { createRequire } from 'node:module';
import { AwsAccess } from '../../src/aws/access.ts';
import { SecretsfsError } from '../../src/errors.ts';
import { S3Source } from '../../src/source/s3.ts';
import { parseS3Url } from '../../src/source/s3-url.ts';

const [optionsText = '{}', question = '', argument = ''] = process.argv.slice(2);
const options = JSON.parse(optionsText);
const aws = new AwsAccess({ env: process.env, ...options });

async function answer(): Promise<unknown> {
  switch (question) {
    case 'nothing': {
      // What is loaded once everything is imported and nothing was asked.
      const loaded = Object.keys(createRequire(import.meta.url).cache);
      return loaded.filter((file) => /node_modules\/(@aws-sdk|@smithy|hpagent)\//.test(file)).length;
    }
    case 'region':
      return (await aws.region()) ?? null;
    case 'identity': {
      const client = await aws.kms(argument || 'eu-west-1');
      const { accessKeyId, sessionToken } = await client.config.credentials();
      return { accessKeyId, session: sessionToken !== undefined };
    }
    case 'endpoint': {
      const client = await aws.kms(argument);
      const { url } = client.config.endpointProvider({
        Region: await client.config.region(),
        UseFIPS: await client.config.useFipsEndpoint(),
        UseDualStack: await client.config.useDualstackEndpoint(),
      });
      return url.href;
    }
    case 'fetch': {
      const source = new S3Source(parseS3Url(argument), aws);
      return (await source.fetch({ bytesMax: 1000 }))?.bytes.toString();
    }
    case 'key': {
      const { DescribeKeyCommand } = await import('@aws-sdk/client-kms');
      const client = await aws.kms('eu-west-1');
      return (await client.send(new DescribeKeyCommand({ KeyId: argument }))).KeyMetadata?.Arn;
    }
    default:
      throw new Error(`no such question: ${question}`);
  }
}

try {
  process.stdout.write(JSON.stringify({ answer: await answer() }));
} catch (error) {
  const known = error instanceof SecretsfsError;
  process.stdout.write(
    JSON.stringify({
      error: known ? error.code : 'bug',
      message: known ? error.message : String(error),
      hint: known ? error.hint : undefined,
    }),
  );
} finally {
  aws.destroy();
}
