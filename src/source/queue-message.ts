/**
 * What a message of a queue is about. S3 writes it, perhaps through SNS (raw or wrapped) or EventBridge, or anybody who may
 * send to the queue: nothing of it is used but whether it names an object of ours. Pure.
 */
export interface ObjectPlace {
  readonly bucket: string;
  readonly key: string;
}

/** What S3 sends has a few records of a few kilobytes. */
const TEXT_LENGTH_MAX = 256 * 1024;
const RECORDS_MAX = 1_000;
/** SNS in SNS, at the most. */
const WRAPPINGS_MAX = 2;

/**
 * `ours`: it names one of `places`. `other`: it is readable and does not. `unreadable`: anything else; it may be of a form that
 * is not known yet, so it is worth a look.
 */
export function messageConcerns(
  body: string,
  places: readonly ObjectPlace[],
): 'ours' | 'other' | 'unreadable' {
  const named = placesIn(body, 0);
  if (named === undefined) return 'unreadable';
  return named.some(({ bucket, key }) => places.some((place) => place.bucket === bucket && place.key === key))
    ? 'ours'
    : 'other';
}

function placesIn(body: unknown, wrappings: number): readonly ObjectPlace[] | undefined {
  if (typeof body !== 'string' || body.length > TEXT_LENGTH_MAX) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    return undefined;
  }
  const message = record(value);
  if (message === undefined) return undefined;
  if (Array.isArray(message['Records'])) {
    const records = message['Records'].slice(0, RECORDS_MAX).map(placeOfRecord);
    return records.includes(undefined) ? undefined : (records as ObjectPlace[]);
  }
  // What S3 sends when a notification is set up.
  if (message['Event'] === 's3:TestEvent') return [];
  if (message['source'] === 'aws.s3') {
    const detail = record(message['detail']);
    const place = placeOf(detail?.['bucket'], detail?.['object'], (key) => key);
    return place === undefined ? undefined : [place];
  }
  if ('Message' in message && 'TopicArn' in message && wrappings < WRAPPINGS_MAX) {
    return placesIn(message['Message'], wrappings + 1);
  }
  return undefined;
}

function placeOfRecord(value: unknown): ObjectPlace | undefined {
  const s3 = record(record(value)?.['s3']);
  return placeOf(s3?.['bucket'], s3?.['object'], decodeKey);
}

function placeOf(bucket: unknown, object: unknown, decode: (key: string) => string | undefined) {
  const name = record(bucket)?.['name'];
  const key = record(object)?.['key'];
  if (typeof name !== 'string' || typeof key !== 'string') return undefined;
  const decoded = decode(key);
  return decoded === undefined ? undefined : { bucket: name, key: decoded };
}

/** In S3's own messages, keys are as in a query. */
function decodeKey(key: string): string | undefined {
  try {
    return decodeURIComponent(key.replaceAll('+', ' '));
  } catch {
    return undefined;
  }
}

function record(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
}
