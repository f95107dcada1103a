/** How numbers and times stand in findings. */

/** 1572864 → "1.5 MiB" */
export function formatMiB(bytes: number): string {
  if (bytes === Number.POSITIVE_INFINITY) return 'no limit';
  const mib = bytes / (1024 * 1024);
  return `${mib >= 10 ? Math.round(mib) : mib.toFixed(1)} MiB`;
}

/** 90000 → "90 s", 7_200_000 → "2 h" */
export function formatSpan(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} days`;
}
