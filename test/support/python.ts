/**
 * A Python process that does what it is told, for system calls that Node does not have: mmap, sendfile, splice,
 * O_DIRECT, mincore. One process keeps descriptors and mappings from one order to the next.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface, type Interface } from 'node:readline';

const SERVE = `
import ctypes, errno, fcntl, hashlib, json, mmap, os, stat, sys
libc = ctypes.CDLL(None, use_errno=True)

def sha(data): return hashlib.sha256(data).hexdigest()

def opened(path, flags=os.O_RDONLY): return os.open(path, flags)

def mapped(fd, size=0, private=True):
    return mmap.mmap(fd, size, flags=mmap.MAP_PRIVATE if private else mmap.MAP_SHARED, prot=mmap.PROT_READ)

def sent(fd, size):
    out = os.memfd_create("out")
    try:
        done = 0
        while done < size:
            n = os.sendfile(out, fd, done, size - done)
            if n == 0: break
            done += n
        return os.pread(out, size, 0)
    finally: os.close(out)

def spliced(fd, size):
    r, w = os.pipe()
    try:
        got = b""
        while len(got) < size:
            n = os.splice(fd, w, min(size - len(got), 65536), offset_src=len(got))
            if n == 0: break
            got += os.read(r, n)
        return got
    finally: os.close(r); os.close(w)

def direct(path, size):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        buffer = mmap.mmap(-1, 131072)
        got = b""
        while len(got) < size:
            n = os.preadv(fd, [buffer], len(got))
            if n == 0: break
            got += buffer[:n]
        return got
    finally: os.close(fd)

def content(path):
    """As cat does it. Python's own open() asks whether it is a terminal, which no filesystem answers for the next time."""
    fd = os.open(path, os.O_RDONLY)
    try: return os.read(fd, 1000000).decode()
    finally: os.close(fd)

def resident(file):
    """How many pages of a path or descriptor are in the page cache; looking brings none in."""
    fd = os.open(file, os.O_RDONLY) if isinstance(file, str) else file
    try:
        size = os.fstat(fd).st_size
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
        at = libc.mmap(None, size, 1, 2, fd, 0)
        if at == ctypes.c_void_p(-1).value: raise OSError(ctypes.get_errno(), "mmap")
        vec = (ctypes.c_ubyte * ((size + 4095) // 4096))()
        libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
        if libc.mincore(at, size, vec) != 0: raise OSError(ctypes.get_errno(), "mincore")
        libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        libc.munmap(at, size)
        return sum(v & 1 for v in vec)
    finally:
        if isinstance(file, str): os.close(fd)

scope = globals()
for line in sys.stdin:
    try:
        scope["out"] = None
        exec(json.loads(line), scope)
        answer = {"out": scope["out"]}
    except OSError as e: answer = {"errno": errno.errorcode.get(e.errno, str(e.errno))}
    except Exception as e: answer = {"error": repr(e)}
    print(json.dumps(answer), flush=True)
`;

export class PythonError extends Error {
  readonly code: string;

  constructor(code: string) {
    super(code);
    this.code = code;
  }
}

export class Python {
  readonly child: ChildProcess;
  readonly ended: Promise<NodeJS.Signals | number | null>;
  readonly #lines: Interface;

  /** Ends with the test. `wrap`: what to run it in, e.g. nsenter with its options. */
  constructor(after: (cleanup: () => Promise<void>) => void, wrap: readonly string[] = []) {
    const [command = '', ...args] = [...wrap, 'python3', '-c', SERVE];
    this.child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.ended = new Promise((resolve) =>
      this.child.once('close', (code, signal) => resolve(signal ?? code)),
    );
    if (this.child.stdout === null) throw new Error('no stdout');
    this.#lines = createInterface({ input: this.child.stdout });
    this.child.stdin?.on('error', () => {});
    after(async () => {
      this.child.stdin?.end();
      if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill('SIGKILL');
      await this.ended;
    });
  }

  /** Runs statements; what they assign to `out` comes back. Throws PythonError with the name of an errno as its code. */
  async run<T = unknown>(script: string): Promise<T> {
    const answer = new Promise<string>((resolve, reject) => {
      this.#lines.once('line', resolve);
      void this.ended.then((how) => reject(new Error(`python ended: ${how}`)));
    });
    this.child.stdin?.write(`${JSON.stringify(script)}\n`);
    const { out, errno, error } = JSON.parse(await answer);
    if (errno !== undefined) throw new PythonError(errno);
    if (error !== undefined) throw new Error(error);
    return out as T;
  }
}
