/** Who hands certificates to haproxy, as a program of its own: dist/haproxy.mjs. */
import { runHaproxyUpdater } from '../daemon/haproxy-updater.ts';

await runHaproxyUpdater();
