/* Stands between a process and the machine's clock and randomness, and lies: time passes LIE times as fast and begins
 * LIE years late, and random bytes are others. Counts how often it is asked, and tells in the file named by WITNESS.
 * Loaded before libc, so that it is asked first. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static unsigned long clocks, randoms;
static long lie, began[2];

__attribute__((constructor)) static void begin(void) {
    const char *told = getenv("LIE");
    lie = told ? atol(told) : 0;
}

int clock_gettime(clockid_t id, struct timespec *now) {
    __atomic_add_fetch(&clocks, 1, __ATOMIC_RELAXED);
    long failed = syscall(SYS_clock_gettime, id, now);
    if (failed || !lie || id < 0 || id > 1) return (int)failed;
    if (!began[id]) began[id] = now->tv_sec;
    now->tv_sec = began[id] + (now->tv_sec - began[id]) * lie + lie * 31536000;
    return 0;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec read;
    (void)zone;
    int failed = clock_gettime(CLOCK_REALTIME, &read);
    now->tv_sec = read.tv_sec;
    now->tv_usec = read.tv_nsec / 1000;
    return failed;
}

time_t time(time_t *now) {
    struct timespec read;
    clock_gettime(CLOCK_REALTIME, &read);
    if (now) *now = read.tv_sec;
    return read.tv_sec;
}

ssize_t getrandom(void *bytes, size_t length, unsigned flags) {
    __atomic_add_fetch(&randoms, 1, __ATOMIC_RELAXED);
    ssize_t got = syscall(SYS_getrandom, bytes, length, flags);
    for (ssize_t n = 0; lie && n < got; n++) ((unsigned char *)bytes)[n] = (unsigned char)(lie * (n + 1));
    return got;
}

int getentropy(void *bytes, size_t length) { return getrandom(bytes, length, 0) == (ssize_t)length ? 0 : -1; }

__attribute__((destructor)) static void tell(void) {
    const char *path = getenv("WITNESS");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (!file) return;
    fprintf(file, "%lu %lu\n", clocks, randoms);
    fclose(file);
}
