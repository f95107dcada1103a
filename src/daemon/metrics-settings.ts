/** The section `metrics:` of a config: a port of this machine alone, and whether files may be told by name. */
import * as z from 'zod';
import { flag, text } from './config-values.ts';

/** Who answers may not take a lower one. */
const PORT_MIN = 1024;
const PORT_MAX = 65_535;
const LOOPBACK = /^(?:(127(?:\.(?:0|[1-9]\d{0,2})){3})|\[(::1)\]):([1-9]\d{0,4})$/;

export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** Undefined for what is no address and port of the loopback interface. */
export function parseListenAddress(written: string): ListenAddress | undefined {
  const [, four, six, digits] = LOOPBACK.exec(written) ?? [];
  const host = four ?? six;
  const port = Number(digits);
  if (host === undefined || host.split('.').some((part) => Number(part) > 255)) return undefined;
  return port >= PORT_MIN && port <= PORT_MAX ? { host, port } : undefined;
}

export const metricsSection = z.strictObject({
  /** Besides the socket, which is always there. */
  listen: text
    .transform((written, context) => {
      const address = parseListenAddress(written);
      if (address !== undefined) return address;
      const message = `must be 127.0.0.1:PORT or [::1]:PORT, from ${PORT_MIN} to ${PORT_MAX}: metrics have no password`;
      context.addIssue({ code: 'custom', message });
      return z.NEVER;
    })
    .optional(),
  fileLabels: flag.optional(),
});

/** What a mount is told of it. */
export interface MetricsOptions {
  readonly listen: ListenAddress | undefined;
  readonly fileLabels: boolean;
}

export function metricsOptions(section: z.infer<typeof metricsSection> = {}): MetricsOptions {
  return { listen: section.listen, fileLabels: section.fileLabels === true };
}
