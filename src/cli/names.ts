/** The bundle's name, where none is given: what its file or object is called, less its extensions. */
import path from 'node:path';
import { isName } from '../bundle/name.ts';
import { quote, UsageError } from '../errors.ts';

/** `s3://bucket/prod/web.enc.tar?versionId=x` → `web` */
export function nameFromLocation(location: string): string {
  const withoutQuery = location.startsWith('s3://') ? location.replace(/\?.*$/, '') : location;
  const name = path.posix.basename(withoutQuery).replace(/(?<=.)\..*$/, '');
  if (isName(name)) return name;
  throw new UsageError(`cannot take a name from ${quote(location)}`, {
    hint: '--name NAME: letters, digits, dot, dash and underscore',
  });
}

/** Whether mount would expect this name of a bundle at this location. */
export function nameFits(location: string, name: string): boolean {
  try {
    return location === 'stdin' || nameFromLocation(location) === name;
  } catch {
    return false;
  }
}
