/* smtpsink - an SMTP server that accepts everything and counts it: the MX in measurements, on loopback only.
 * One thread, epoll, OpenSSL.
 * Build: cc -O2 -Wall -Wextra -o smtpsink smtpsink.c -lssl -lcrypto
 * The counters live in the --stats file (smtpperf.h: sinkstat); smtpload --sink-stats reads and zeroes them. */
#define _GNU_SOURCE
#include "smtpperf.h"
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static const char *host = "127.0.0.1", *certf, *keyf, *save; static int port = 2526, implicit, verbose; static sinkstat *st; static SSL_CTX *ctx; static int ep;
static volatile sig_atomic_t stop;

static void usage(FILE *f) {
    fputs("usage: smtpsink --stats=FILE [--host=127.0.0.1] [--port=2526] [--cert=PEM --key=PEM (offers STARTTLS)] [--implicit] [--save=DIR] [--verbose]\n"
          "       listens on one loopback address, accepts every message, throws it away (or keeps it as DIR/N.eml)\n", f);
}
typedef struct {
    int fd, tls_hs, data, close_after, rcpts; SSL *ssl; uint32_t events;
    char line[2048]; size_t line_n;
    unsigned tail;                /* tail: how much of \r\n.\r\n was just seen */
    uint64_t bytes; char *out; size_t out_n, out_cap, out_off; FILE *file;
} conn;

static void arm(conn *c, uint32_t ev) { if (ev == c->events) return; struct epoll_event e = { .events = ev, .data.ptr = c }; epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e); c->events = ev; }
static void drop(conn *c) { if (c->ssl) { SSL_shutdown(c->ssl); SSL_free(c->ssl); } ERR_clear_error(); close(c->fd); if (c->file) fclose(c->file); free(c->out); c->fd = -1; }
static void say(conn *c, const char *s) {
    size_t n = strlen(s);
    if (verbose) fprintf(stderr, "S: %s", s);
    if (c->out_n + n > c->out_cap) { c->out_cap = (c->out_n + n) * 2; c->out = realloc(c->out, c->out_cap); if (!c->out) abort(); }
    memcpy(c->out + c->out_n, s, n); c->out_n += n;
}
static int flush_out(conn *c) {                   /* 0: gone */
    while (c->out_off < c->out_n) {
        long w = c->ssl ? SSL_write(c->ssl, c->out + c->out_off, (int)(c->out_n - c->out_off)) : send(c->fd, c->out + c->out_off, c->out_n - c->out_off, MSG_NOSIGNAL);
        if (w <= 0) {
            int again = c->ssl ? SSL_get_error(c->ssl, (int)w) == SSL_ERROR_WANT_WRITE || SSL_get_error(c->ssl, (int)w) == SSL_ERROR_WANT_READ : errno == EAGAIN;
            if (again) { arm(c, EPOLLIN | EPOLLOUT); return 1; }
            drop(c); return 0;
        }
        c->out_off += (size_t)w;
    }
    c->out_n = c->out_off = 0; arm(c, EPOLLIN);
    if (c->close_after) { drop(c); return 0; }
    return 1;
}
static void message_done(conn *c) {
    uint64_t now = wall_us();
    if (!st->first_us) st->first_us = now;
    st->last_us = now; st->bytes += c->bytes; st->msgs++; st->rcpts += (uint64_t)c->rcpts;
    if (c->file) { fclose(c->file); c->file = NULL; }
    c->data = 0; c->rcpts = 0; say(c, "250 2.0.0 taken\r\n");
}
static void tls_step(conn *c) {
    int r = SSL_accept(c->ssl);
    if (r == 1) { c->tls_hs = 0; st->tls++; if (SSL_session_reused(c->ssl)) st->resumed++; arm(c, EPOLLIN); if (implicit) { say(c, "220 sink ESMTP\r\n"); flush_out(c); } return; }
    int e = SSL_get_error(c->ssl, r);
    if (e == SSL_ERROR_WANT_READ) arm(c, EPOLLIN); else if (e == SSL_ERROR_WANT_WRITE) arm(c, EPOLLIN | EPOLLOUT);
    else { st->errors++; if (verbose) ERR_print_errors_fp(stderr); drop(c); }
}
static void start_tls(conn *c) { c->ssl = SSL_new(ctx); SSL_set_fd(c->ssl, c->fd); SSL_set_accept_state(c->ssl); c->tls_hs = 1; }
static void command(conn *c, char *l) {
    if (verbose) fprintf(stderr, "C: %s\n", l);
    if (!strncasecmp(l, "EHLO", 4)) say(c, ctx && !c->ssl ? "250-sink\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n250 STARTTLS\r\n"
                                                      : "250-sink\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES\r\n");
    else if (!strncasecmp(l, "HELO", 4)) say(c, "250 sink\r\n");
    else if (!strncasecmp(l, "STARTTLS", 8) && ctx && !c->ssl) { say(c, "220 2.0.0 go ahead\r\n"); if (flush_out(c)) start_tls(c); }
    else if (!strncasecmp(l, "MAIL", 4)) { c->rcpts = 0; say(c, "250 2.1.0 ok\r\n"); }
    else if (!strncasecmp(l, "RCPT", 4)) { c->rcpts++; say(c, "250 2.1.5 ok\r\n"); }
    else if (!strncasecmp(l, "DATA", 4)) {
        if (!c->rcpts) { say(c, "554 5.5.1 no recipients\r\n"); return; }
        c->data = 1; c->tail = 2; c->bytes = 0; say(c, "354 go on\r\n");
        if (save) { char p[512]; snprintf(p, sizeof p, "%s/%llu.%d.eml", save, (unsigned long long)wall_us(), c->fd); c->file = fopen(p, "wb"); }
    }
    else if (!strncasecmp(l, "QUIT", 4)) { say(c, "221 2.0.0 bye\r\n"); c->close_after = 1; }
    else if (!strncasecmp(l, "RSET", 4) || !strncasecmp(l, "NOOP", 4)) say(c, "250 2.0.0 ok\r\n");
    else say(c, "502 5.5.2 no\r\n");
}
static size_t data_bytes(conn *c, const char *p, size_t n) {      /* returns how many belong to the message (with its end) */
    size_t i = 0;
    while (i < n) {                               /* outside a line end: jump to the next CR */
        if (c->tail == 0) { const char *cr = memchr(p + i, '\r', n - i); if (!cr) { i = n; break; } i = (size_t)(cr - p); }
        char ch = p[i++];
        switch (c->tail) {
        case 0: case 1: c->tail = ch == '\n' && c->tail == 1 ? 2 : ch == '\r'; break;
        case 2: c->tail = ch == '.' ? 3 : ch == '\r'; break;
        case 3: c->tail = ch == '\r' ? 4 : 0; break;
        case 4: c->tail = ch == '\n' ? 5 : ch == '\r'; break;
        }
        if (c->tail == 5) break;
    }
    c->bytes += i; if (c->file) fwrite(p, 1, i, c->file);
    if (c->tail == 5) message_done(c);
    return i;
}
static void on_input(conn *c) {
    static char buf[262144];
    for (;;) {
        if (c->tls_hs) { tls_step(c); return; }
        long r = c->ssl ? SSL_read(c->ssl, buf, sizeof buf) : recv(c->fd, buf, sizeof buf, 0);
        if (r <= 0) {
            int again = c->ssl ? SSL_get_error(c->ssl, (int)r) == SSL_ERROR_WANT_READ : r < 0 && errno == EAGAIN;
            if (!again) { drop(c); return; }
            flush_out(c); return;
        }
        size_t n = (size_t)r, i = 0;
        while (i < n) {
            if (c->data) { i += data_bytes(c, buf + i, n - i); continue; }
            char *nl = memchr(buf + i, '\n', n - i); size_t k = nl ? (size_t)(nl - (buf + i)) + 1 : n - i;
            if (c->line_n + k >= sizeof c->line) { drop(c); return; }
            memcpy(c->line + c->line_n, buf + i, k); c->line_n += k; i += k;
            if (!nl) break;
            while (c->line_n && (c->line[c->line_n - 1] == '\n' || c->line[c->line_n - 1] == '\r')) c->line_n--;
            c->line[c->line_n] = 0; c->line_n = 0; command(c, c->line);
            if (c->fd < 0) return;
            if (c->tls_hs) break;                 /* what came before the handshake in clear text is ignored */
        }
    }
}
static void on_signal(int s) { (void)s; stop = 1; }
int main(int argc, char **argv) {
    const char *statf = NULL; int k;
    static const struct option lo[] = {{"stats",1,0,'s'},{"host",1,0,'h'},{"port",1,0,'p'},{"cert",1,0,'c'},{"key",1,0,'k'},{"implicit",0,0,'i'},{"save",1,0,'d'},{"verbose",0,0,'v'},{0,0,0,0}};
    while ((k = getopt_long(argc, argv, "s:h:p:c:k:id:v", lo, NULL)) != -1) switch (k) {
        case 's': statf = optarg; break; case 'h': host = optarg; break; case 'p': port = atoi(optarg); break; case 'c': certf = optarg; break;
        case 'k': keyf = optarg; break; case 'i': implicit = 1; break; case 'd': save = optarg; break; case 'v': verbose = 1; break; default: usage(stderr); return 2; }
    if (!statf) { usage(stderr); return 2; }
    st = sinkstat_map(statf, 1); if (!st) return 2;
    sinkstat_zero(st); st->magic = SINK_MAGIC; st->pid = (uint64_t)getpid();
    signal(SIGPIPE, SIG_IGN); signal(SIGTERM, on_signal); signal(SIGINT, on_signal);
    if (certf) {
        ctx = SSL_CTX_new(TLS_server_method()); SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
        SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
        if (SSL_CTX_use_certificate_chain_file(ctx, certf) != 1 || SSL_CTX_use_PrivateKey_file(ctx, keyf ? keyf : certf, SSL_FILETYPE_PEM) != 1) { ERR_print_errors_fp(stderr); return 2; }
    }
    int ls = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1; setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) }; inet_pton(AF_INET, host, &a.sin_addr);
    if ((ntohl(a.sin_addr.s_addr) >> 24) != 127) { fprintf(stderr, "loopback addresses only\n"); return 2; }
    if (bind(ls, (struct sockaddr *)&a, sizeof a) < 0 || listen(ls, 4096) < 0) { perror("bind"); return 2; }
    ep = epoll_create1(EPOLL_CLOEXEC); struct epoll_event e = { .events = EPOLLIN, .data.ptr = NULL }; epoll_ctl(ep, EPOLL_CTL_ADD, ls, &e);
    while (!stop) {
        struct epoll_event ev[256]; int n = epoll_wait(ep, ev, 256, 1000);
        for (int i = 0; i < n; i++) {
            conn *c = ev[i].data.ptr;
            if (!c) {
                int fd;
                while ((fd = accept4(ls, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    c = calloc(1, sizeof *c); if (!c) abort();
                    c->fd = fd; c->events = EPOLLIN; st->conns++;
                    struct epoll_event x = { .events = EPOLLIN, .data.ptr = c }; epoll_ctl(ep, EPOLL_CTL_ADD, fd, &x);
                    if (implicit && ctx) start_tls(c); else { say(c, "220 sink ESMTP\r\n"); if (!flush_out(c)) free(c); }
                }
                continue;
            }
            if ((ev[i].events & EPOLLOUT) && !c->tls_hs && !flush_out(c)) { free(c); continue; }
            on_input(c); if (c->fd < 0) free(c);
        }
    }
    fprintf(stderr, "smtpsink: %llu messages, %llu connections, %llu handshakes (%llu resumed)\n", (unsigned long long)st->msgs, (unsigned long long)st->conns, (unsigned long long)st->tls, (unsigned long long)st->resumed);
    return 0;
}
