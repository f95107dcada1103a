/**
 * How much slower than usual this machine is: 1, or what SECRETSFS_TEST_SLOWNESS says (scripts/test-kernels emulates a
 * whole machine). It stretches how long tests wait for something, never what they insist on.
 */
export const SLOWNESS = Number(process.env['SECRETSFS_TEST_SLOWNESS'] ?? 1);

export function patient(milliseconds: number): number {
  return milliseconds * SLOWNESS;
}
