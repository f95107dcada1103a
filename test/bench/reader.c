/*
 * The readers of the benchmarks, in C: Node's own cost of four system calls would be more than the calls'.
 * Times are CLOCK_MONOTONIC, the clock of process.hrtime(). A read that fails or is short ends it with status 1.
 *
 *   reader latency ROUNDS FILE...     open, fstat, read 4 KiB, close, in turn: of each [p5, median, p95] in µs, as JSON
 *   reader cold FILE...               the same once each, in the order given: the median µs of all
 *   reader sequential ROUNDS FILE...  whole files, in turn: of each [p5, median, p95] in MB/s, as JSON
 *   reader walk DIRECTORY             find, then read of what it found: {"ms":…,"files":…,"bytes":…}
 *   reader gaps FILE...               until SIGTERM: a line "START_NS GAP_NS" where two reads end more than 1 ms apart
 *   reader spin                       keeps a CPU busy
 */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* A batch is timed whole, so that reading the clock costs nothing; batches take turns between the files. */
#define READS_PER_BATCH 20
#define BATCHES_PER_ROUND 10
#define SMALL_BYTES 4096
#define LARGE_BYTES (128 * 1024)
#define GAP_NS 1000000
#define FILES_MAX 200000

static char buffer[LARGE_BYTES];

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void fail(const char *what, const char *file) {
  fprintf(stderr, "%s %s: %s\n", what, file, strerror(errno));
  exit(1);
}

static void *reserve(size_t count, size_t bytes) {
  void *memory = calloc(count, bytes);
  if (memory == NULL) fail("allocate", "");
  return memory;
}

/* A file shorter than 4 KiB is read whole. */
static void read_once(const char *file) {
  struct stat st;
  int fd = open(file, O_RDONLY);
  if (fd < 0) fail("open", file);
  if (fstat(fd, &st) != 0) fail("fstat", file);
  ssize_t want = st.st_size < SMALL_BYTES ? st.st_size : SMALL_BYTES;
  errno = 0;
  if (want == 0 || read(fd, buffer, SMALL_BYTES) != want) fail("read", file);
  if (close(fd) != 0) fail("close", file);
}

static uint64_t read_whole(const char *file) {
  uint64_t total = 0;
  ssize_t got;
  int fd = open(file, O_RDONLY);
  if (fd < 0) fail("open", file);
  while ((got = read(fd, buffer, LARGE_BYTES)) > 0) total += (uint64_t)got;
  if (got < 0) fail("read", file);
  if (close(fd) != 0) fail("close", file);
  return total;
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static double median(double *values, size_t count) {
  qsort(values, count, sizeof *values, compare);
  return (values[(count - 1) / 2] + values[count / 2]) / 2;
}

static void print_quantiles(double **values, size_t count, int files) {
  for (int i = 0; i < files; i++) {
    double middle = median(values[i], count);
    double low = values[i][(count - 1) * 5 / 100], high = values[i][(count - 1) * 95 / 100];
    printf("%s[%.4f,%.4f,%.4f]", i == 0 ? "[" : ",", low, middle, high);
  }
  printf("]\n");
}

static int latency(int rounds, char **files, int count) {
  double **us = reserve((size_t)count, sizeof *us);
  size_t batches = (size_t)rounds * BATCHES_PER_ROUND;
  for (int i = 0; i < count; i++) us[i] = reserve(batches, sizeof **us);
  /* Round -1 warms up. */
  for (int round = -1; round < rounds; round++) {
    for (int i = 0; i < count; i++) {
      for (int batch = 0; batch < BATCHES_PER_ROUND; batch++) {
        uint64_t start = now_ns();
        for (int n = 0; n < READS_PER_BATCH; n++) read_once(files[i]);
        uint64_t took = now_ns() - start;
        if (round >= 0) us[i][round * BATCHES_PER_ROUND + batch] = (double)took / 1e3 / READS_PER_BATCH;
      }
    }
  }
  print_quantiles(us, batches, count);
  return 0;
}

static int cold(char **files, int count) {
  double *us = reserve((size_t)count, sizeof *us);
  for (int i = 0; i < count; i++) {
    uint64_t start = now_ns();
    read_once(files[i]);
    us[i] = (double)(now_ns() - start) / 1e3;
  }
  printf("%.4f\n", median(us, (size_t)count));
  return 0;
}

static int sequential(int rounds, char **files, int count) {
  double **speed = reserve((size_t)count, sizeof *speed);
  for (int i = 0; i < count; i++) speed[i] = reserve((size_t)rounds, sizeof **speed);
  for (int round = -1; round < rounds; round++) {
    for (int i = 0; i < count; i++) {
      uint64_t start = now_ns();
      uint64_t bytes = read_whole(files[i]);
      uint64_t took = now_ns() - start;
      if (round >= 0) speed[i][round] = (double)bytes / 1e6 / ((double)took / 1e9);
    }
  }
  print_quantiles(speed, (size_t)rounds, count);
  return 0;
}

static char *found[FILES_MAX];
static int found_count;

static int visit(const char *path, const struct stat *st, int kind, struct FTW *where) {
  (void)st;
  (void)where;
  if (kind == FTW_DNR || kind == FTW_NS) fail("find", path);
  if (kind == FTW_F) {
    if (found_count == FILES_MAX || (found[found_count++] = strdup(path)) == NULL) fail("remember", path);
  }
  return 0;
}

static int walk(const char *directory) {
  uint64_t start = now_ns(), bytes = 0;
  if (nftw(directory, visit, 16, FTW_PHYS) != 0) fail("find", directory);
  for (int i = 0; i < found_count; i++) bytes += read_whole(found[i]);
  double ms = (double)(now_ns() - start) / 1e6;
  printf("{\"ms\":%.3f,\"files\":%d,\"bytes\":%" PRIu64 "}\n", ms, found_count, bytes);
  return 0;
}

static volatile sig_atomic_t stopped;
static void stop(int signal_number) {
  (void)signal_number;
  stopped = 1;
}

static int gaps(char **files, int count) {
  struct sigaction action = {.sa_handler = stop, .sa_flags = SA_RESTART};
  sigaction(SIGTERM, &action, NULL);
  setvbuf(stdout, NULL, _IOLBF, 0);
  read_once(files[0]);
  printf("reading\n");
  uint64_t last = now_ns();
  for (int i = 0; !stopped; i = (i + 1) % count) {
    read_once(files[i]);
    uint64_t now = now_ns();
    if (now - last > GAP_NS) {
      printf("%" PRIu64 " %" PRIu64 "\n", last, now - last);
      now = now_ns();
    }
    last = now;
  }
  return 0;
}

static void spin(void) {
  for (volatile uint64_t n = 0;; n++) {}
}

int main(int argc, char **argv) {
  /* Nobody is to be left reading or spinning when the benchmark is gone. */
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (argc < 2) return 2;
  if (strcmp(argv[1], "latency") == 0 && argc > 3) return latency(atoi(argv[2]), argv + 3, argc - 3);
  if (strcmp(argv[1], "cold") == 0 && argc > 2) return cold(argv + 2, argc - 2);
  if (strcmp(argv[1], "sequential") == 0 && argc > 3) return sequential(atoi(argv[2]), argv + 3, argc - 3);
  if (strcmp(argv[1], "walk") == 0 && argc == 3) return walk(argv[2]);
  if (strcmp(argv[1], "gaps") == 0 && argc > 2) return gaps(argv + 2, argc - 2);
  if (strcmp(argv[1], "spin") == 0) spin();
  return 2;
}
