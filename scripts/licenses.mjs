// What packages ask to be passed on with their code: the text of each one's licence, where it has one.
import { readdir, readFile } from 'node:fs/promises';

/** `files`: paths below `root`. Every package among them is named; of several with one text, that is said once. */
export async function licensesOf(root, files) {
  const directories = new Set();
  for (const file of files) {
    // The innermost node_modules is whose file it is.
    const found = /^.*(?:^|\/)node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(file);
    if (found !== null) directories.add(found[0]);
  }
  const namesOfText = new Map();
  for (const directory of [...directories].sort()) {
    const { name, version, license } = JSON.parse(await readFile(`${root}${directory}/package.json`, 'utf8'));
    const there = await readdir(`${root}${directory}`);
    const file = there.sort().find((each) => /^(licen[cs]e|copying)/i.test(each));
    const text = file === undefined ? '' : (await readFile(`${root}${directory}/${file}`, 'utf8')).trim();
    const names = namesOfText.get(text) ?? new Set();
    namesOfText.set(text, names.add(`${name} ${version}: ${license}`));
  }
  const paragraphs = [...namesOfText].map(([text, names]) => `${[...names].join('\n')}\n\n${text}\n`);
  return paragraphs.join(`\n${'-'.repeat(80)}\n\n`);
}
