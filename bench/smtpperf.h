/* smtpperf.h - what smtpload and smtpsink share: clocks and the sink's statistics. */
#ifndef SMTPPERF_H
#define SMTPPERF_H
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <fcntl.h>
#include <sys/mman.h>

static inline uint64_t now_us(void) {             /* monotonic, for durations in one process */
    struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}
static inline uint64_t wall_us(void) {            /* real time, compared between processes */
    struct timespec t; clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

/* The sink keeps this in a file both programs map; smtpload zeroes the counters before a run. */
typedef struct {
    uint64_t magic, pid;
    volatile uint64_t conns, tls, resumed, msgs, rcpts, bytes, errors;
    volatile uint64_t first_us, last_us;          /* wall_us of the first and the last message */
} sinkstat;
#define SINK_MAGIC 0x736d747073696e6bULL

static inline sinkstat *sinkstat_map(const char *path, int create) {
    int fd = open(path, create ? O_RDWR | O_CREAT : O_RDWR, 0644);
    if (fd < 0) { perror(path); return NULL; }
    if (create && ftruncate(fd, sizeof(sinkstat)) < 0) { perror("ftruncate"); return NULL; }
    sinkstat *s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return s == MAP_FAILED ? NULL : s;
}
static inline void sinkstat_zero(sinkstat *s) {
    s->conns = s->tls = s->resumed = s->msgs = s->rcpts = s->bytes = s->errors = 0;
    s->first_us = s->last_us = 0;
}
#endif
