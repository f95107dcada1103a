/** A line of a status, and its colour where a terminal takes one. */

export type Line = string | { readonly text: string; readonly colour: number };

// SGR: https://invisible-island.net/xterm/ctlseqs/ctlseqs.html
export const red = (text: string): Line => ({ text, colour: 31 });
export const green = (text: string): Line => ({ text, colour: 32 });
export const yellow = (text: string): Line => ({ text, colour: 33 });

export const textOf = (line: Line): string => (typeof line === 'string' ? line : line.text);
