/** Which plots are made of the record. */
import type { Result } from '../bench/measure.ts';
import { type Panel, type Plot, plot, type Row } from './plot.ts';
import { type Measurements, machineText, measured } from './record.ts';

/** By the name of their file in docs/. */
export function plots(record: Measurements): Readonly<Record<string, string>> {
  return {
    'bench-open.svg': plot(opening(record)),
    'bench-kill.svg': plot(killing(record)),
    'bench-rotation.svg': plot(rotating(record)),
  };
}

function opening(record: Measurements): Plot {
  const latency = (placement: string, where: string) =>
    panel(
      record,
      'latency',
      `Open, fstat, read 4 KiB, close: ${where}`,
      (result) => result.placement === placement,
    );
  return {
    title: 'Reading files: what a mount costs',
    description:
      'Bars: the median time to open, read and close a file of 4 KiB, and the speed of reading 64 MiB that are cached, for secretsfs and for other filesystems.',
    panels: [
      latency('pinned', 'reader and server on one CPU; shorter is better'),
      latency('unpinned', 'where the scheduler puts them; shorter is better'),
      panel(
        record,
        'sequential',
        'Read 64 MiB from the page cache, on one CPU; longer is better',
        ({ placement }) => placement === 'pinned',
      ),
    ],
    notes: [
      'Medians; strokes: the middle 90 % of 150 batches of 20, and for 64 MiB all 12 rounds. All files are in memory.',
      footer(record, 'latency'),
    ],
  };
}

function killing(record: Measurements): Plot {
  return {
    title: 'kill -9 of the server: how long a reader waits',
    description:
      'Dots: the longest time between two reads of one reader, for each of 20 times kill -9 of the server, with the CPUs idle and busy. No read failed.',
    panels: [
      panel(
        record,
        'stall',
        'The longest time between two reads of one reader; no read failed',
        ({ samples }) => samples !== undefined,
      ),
    ],
    notes: [
      'Each dot is one of 20 times kill -9, the stroke their median. Busy: a program that never sleeps on each CPU.',
      footer(record, 'stall'),
    ],
  };
}

function rotating(record: Measurements): Plot {
  return {
    title: 'From an upload to a TLS handshake with the new certificate',
    description:
      'Dots: for each of 10 rotations the time from before the upload until a TLS client of nginx sees the new certificate, by the way the mount hears of it. Broken lines: the most that was allowed.',
    panels: [
      panel(
        record,
        'rotation',
        'The mount notices, opens, serves; its hook tests and reloads nginx',
        () => true,
      ),
    ],
    notes: [
      'Each dot is one of 10 rotations, the stroke their median, the broken line the most that was aimed for.',
      footer(record, 'rotation'),
    ],
  };
}

function panel(
  record: Measurements,
  benchmark: string,
  title: string,
  chosen: (result: Result) => boolean,
): Panel {
  const results = measured(record, benchmark).results.filter(chosen);
  const unit = results[0]?.unit ?? '';
  return { title, unit, digits: unit === 'µs' ? 1 : 0, rows: results.map(rowOf) };
}

/** Names of results begin with what was measured. */
function rowOf({ name, value, spread, samples, bound }: Result): Row {
  const short = name.replace(/^.*: |^.*, cached, |^.*server, /, '');
  return {
    name: short,
    ours: short.startsWith('secretsfs') || samples !== undefined,
    value,
    ...(spread === undefined ? {} : { spread }),
    ...(samples === undefined ? {} : { samples }),
    ...(bound === undefined ? {} : { bound }),
  };
}

function footer(record: Measurements, benchmark: string): string {
  const { machine, on, busyBefore } = measured(record, benchmark);
  const busy = `just before, others used ${(100 * busyBefore).toFixed(0)} % of its time`;
  return `${machineText(machine)}; ${on}; ${busy}.`;
}
