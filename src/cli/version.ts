import type { Command } from './command.ts';

/** Written in by scripts/build.mjs, from package.json. */
declare const SECRETSFS_VERSION: string;

export function versionText(): string {
  return typeof SECRETSFS_VERSION === 'string' ? SECRETSFS_VERSION : 'unbuilt';
}

export const version: Command = {
  usage: 'version',
  settings: [],
  async run(_args, { ui, json }) {
    const facts = {
      version: versionText(),
      node: process.version,
      platform: `${process.platform}-${process.arch}`,
    };
    if (json) ui.printJson(facts);
    else ui.print(`secretsfs ${facts.version} (node ${facts.node}, ${facts.platform})`);
  },
};
