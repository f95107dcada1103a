/** A hook that did not do what it is for; the message is for people, one line, and holds nothing of a file's content. */
export class HookFailure extends Error {
  override readonly name = 'HookFailure';
}
