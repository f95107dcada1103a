/**
 * Who still uses a key that is pending deletion is told by CloudTrail alone. This makes an alarm of it, as commands to run:
 * https://docs.aws.amazon.com/kms/latest/developerguide/deleting-keys-creating-cloudwatch-alarm.html
 */
import { quote, UsageError } from '../errors.ts';
import type { KeyArn } from '../keyring/spec.ts';

export interface AlarmOptions {
  /** The log group that a trail of the key's region writes to. */
  readonly logGroup: string;
  /** ARN of the SNS topic that is to be told. */
  readonly topic: string | undefined;
}

const NAMESPACE = 'secretsfs/keys-pending-deletion';
const PERIOD_S = 300;

/** Two commands for a shell. Throws UsageError for names that AWS would not take. */
export function pendingUseAlarm(
  { text, region, id }: KeyArn,
  { logGroup, topic }: AlarmOptions,
): readonly string[] {
  if (!/^[A-Za-z0-9._/#-]{1,512}$/.test(logGroup)) {
    throw new UsageError(`cannot use the log group ${quote(logGroup)}: it is not the name of one`, {
      hint: 'aws logs describe-log-groups shows those that there are',
    });
  }
  if (topic !== undefined && !/^arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,256}$/.test(topic)) {
    throw new UsageError(`cannot tell the topic ${quote(topic)}: it is not the ARN of one`, {
      hint: 'such an ARN is arn:aws:sns:REGION:ACCOUNT:NAME; aws sns list-topics shows those that there are',
    });
  }
  const name = `secretsfs-pending-${id}`;
  const pattern = `{ $.eventSource = kms* && $.errorMessage = "${text} is pending deletion*" }`;
  return [
    [
      `aws logs put-metric-filter --region ${region} --log-group-name '${logGroup}' --filter-name ${name}`,
      `--filter-pattern '${pattern}'`,
      `--metric-transformations metricName=${id},metricNamespace=${NAMESPACE},metricValue=1`,
    ].join(' '),
    [
      `aws cloudwatch put-metric-alarm --region ${region} --alarm-name ${name} --namespace ${NAMESPACE} --metric-name ${id}`,
      `--statistic Sum --period ${PERIOD_S} --evaluation-periods 1 --threshold 1`,
      '--comparison-operator GreaterThanOrEqualToThreshold --treat-missing-data notBreaching',
      ...(topic === undefined ? [] : [`--alarm-actions ${topic}`]),
    ].join(' '),
  ];
}
