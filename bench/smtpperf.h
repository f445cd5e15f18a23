/* smtpperf.h - what smtpload and smtpsink share: clocks, the sink's statistics, and what was sent. */
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
    volatile uint64_t same, different, twice, signatures;   /* of messages compared with what was sent; see sentfile */
    char spoken[64];                              /* TLS of the last handshake */
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
    s->first_us = s->last_us = s->same = s->different = s->twice = s->signatures = 0;
}

/* What smtpload sent in its last run, octet by octet: one body, and a header section for each message. The sink compares
 * what arrives with it, and notes when. Whoever makes the file gives it its size, and so the number of places. */
typedef struct {
    volatile uint32_t head_n, arrived;            /* arrived: how often */
    volatile uint64_t arrived_us;                 /* wall_us of the first time */
    char head[1008];
} sentmail;
typedef struct {
    volatile uint64_t body_n;
    char body[65536 - sizeof(uint64_t)];
    sentmail mails[];
} sentfile;

static inline sentfile *sent_map(const char *path, size_t *places) {
    int fd = open(path, O_RDWR);
    if (fd < 0) { perror(path); return NULL; }
    off_t n = lseek(fd, 0, SEEK_END);
    if (n < (off_t)(sizeof(sentfile) + sizeof(sentmail))) { fprintf(stderr, "%s: too small\n", path); close(fd); return NULL; }
    sentfile *f = mmap(NULL, (size_t)n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd); *places = ((size_t)n - sizeof(sentfile)) / sizeof(sentmail);
    return f == MAP_FAILED ? NULL : f;
}
#endif
