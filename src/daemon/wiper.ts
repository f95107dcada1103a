/**
 * What a supervisor shows to the unit that wipes its store when no supervisor is there to do it (systemd/secretsfs-wipe@.service): where
 * the store is, and by the end of a pipe that it has ended. Going there takes the right to look into root's processes.
 */
import fs from 'node:fs';
import path from 'node:path';

/** %t/secretsfs-wipe, in which that unit makes a directory for the mount. */
const DIRECTORY = '/run/secretsfs-wipe';
/** Both ends, so that opening it waits for nobody. */
const FLAGS = fs.constants.O_RDWR | fs.constants.O_NONBLOCK;

/**
 * `directoryFd`: the store's, of this process, which then has the pipe open as long as it lives. Does nothing where that unit does
 * not run. Never throws: a mount does not need it.
 */
export function showStore(instance: string, directoryFd: number, directory = DIRECTORY): void {
  const place = (name: string) => path.join(directory, instance, name);
  try {
    const pipe = fs.openSync(place('alive'), FLAGS);
    fs.rmSync(place('store.new'), { force: true });
    fs.symlinkSync(`/proc/${process.pid}/fd/${directoryFd}`, place('store.new'));
    fs.renameSync(place('store.new'), place('store'));
    fs.writeSync(pipe, '\n');
  } catch {
    // It is not installed, or has just ended.
  }
}
