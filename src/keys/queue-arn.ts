/** A queue's ARN, which policies want, from its URL, which everybody has. */
import { quote, UsageError } from '../errors.ts';

/** `https://sqs.eu-west-1.amazonaws.com/123456789012/web`, or the older `https://eu-west-1.queue.amazonaws.com/…`. Throws UsageError. */
export function queueArn(url: string, partition: string): string {
  const [, region = ''] =
    /^https?:\/\/(?:sqs(?:-fips)?\.)?([a-z]{2,}(?:-[a-z]+)+-\d)(?:\.queue)?\.(?:amazonaws|api\.aws)/.exec(
      url,
    ) ?? [];
  const [, account = '', name = ''] = /\/(\d{12})\/([A-Za-z0-9_-]{1,80}(?:\.fifo)?)$/.exec(url) ?? [];
  if (region !== '' && account !== '') return `arn:${partition}:sqs:${region}:${account}:${name}`;
  throw new UsageError(`cannot tell the ARN of the queue ${quote(url)}`, {
    hint: 'give it as AWS writes it: https://sqs.REGION.amazonaws.com/ACCOUNT/NAME',
  });
}
