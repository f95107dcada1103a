/** What a bundle's location is, by its look. */
export function isS3Url(location: string): boolean {
  return location.startsWith('s3://');
}
