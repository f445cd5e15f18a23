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

static const char *host = "127.0.0.1", *certf, *keyf, *save; static int port = 2526, addresses = 1, implicit, silent, verbose; static sinkstat *st;
static sentfile *sent; static size_t places; static SSL_CTX *ctx; static int ep;
static volatile sig_atomic_t stop;

static void usage(FILE *f) {
    fputs("usage: smtpsink --stats=FILE [--host=127.0.0.1] [--addresses=1] [--port=2526] [--cert=PEM --key=PEM (offers STARTTLS)] [--implicit]\n"
          "                [--sent=FILE] [--silent] [--save=DIR] [--verbose]\n"
          "       listens on so many loopback addresses, accepts every message, throws it away (or keeps it as DIR/N.eml)\n"
          "       --sent: compares each message with what smtpload says in FILE that it sent, octet by octet; before that,\n"
          "               only Received, Return-Path, X-Zegel-Transport and DKIM-Signature fields are allowed\n"
          "       --silent: takes connections, and says nothing on them\n", f);
}
typedef struct {
    int fd, tls_hs, data, close_after, rcpts; SSL *ssl; uint32_t events;
    char line[2048]; size_t line_n;
    unsigned tail;                /* tail: how much of \r\n.\r\n was just seen */
    uint64_t bytes; char *out; size_t out_n, out_cap, out_off; FILE *file;
    char *mail; size_t mail_n, mail_cap;          /* with --sent: the message so far, as it came */
} conn;

static void arm(conn *c, uint32_t ev) { if (ev == c->events) return; struct epoll_event e = { .events = ev, .data.ptr = c }; epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e); c->events = ev; }
static void drop(conn *c) { if (c->ssl) { SSL_shutdown(c->ssl); SSL_free(c->ssl); } ERR_clear_error(); close(c->fd); if (c->file) fclose(c->file); free(c->out); free(c->mail); c->fd = -1; }
static void say(conn *c, const char *s) {
    size_t n = strlen(s);
    if (silent) return;
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
static void keep(conn *c, const char *p, size_t n) {
    if (c->mail_n + n > c->mail_cap) { c->mail_cap = (c->mail_n + n) * 2; c->mail = realloc(c->mail, c->mail_cap); if (!c->mail) abort(); }
    memcpy(c->mail + c->mail_n, p, n); c->mail_n += n;
}
static size_t unstuffed(char *p, size_t n) {      /* RFC 5321 4.5.2; the line with the dot alone goes too */
    size_t to = 0; int at_start = 1;
    n -= n >= 3 ? 3 : n;
    for (size_t i = 0; i < n; i++) { if (at_start && p[i] == '.') { at_start = 0; continue; } p[to++] = p[i]; at_start = p[i] == '\n' && i && p[i - 1] == '\r'; }
    return to;
}
static int only_trace(const char *p, const char *end, int *signatures) {       /* what may come before the message that was sent */
    *signatures = 0;
    for (int is_first = 1; p < end; is_first = 0) {
        const char *nl = memchr(p, '\n', (size_t)(end - p)); if (!nl) return 0;
        if (*p == ' ' || *p == '\t') { if (is_first) return 0; }
        else if (!strncasecmp(p, "DKIM-Signature:", 15)) ++*signatures;
        else if (strncasecmp(p, "Received:", 9) && strncasecmp(p, "Return-Path:", 12) && strncasecmp(p, "X-Zegel-Transport:", 18)) return 0;
        p = nl + 1;
    }
    return 1;
}
static void compare(conn *c, uint64_t now) {
    static const char first[] = "Message-ID: <smtpload."; size_t first_n = sizeof first - 1;
    size_t n = unstuffed(c->mail, c->mail_n); char *end = c->mail + n, *at = c->mail; int signatures = 0;
    c->mail_n = 0;
    while ((at = memmem(at, (size_t)(end - at), first, first_n)) && at != c->mail && at[-1] != '\n') at += first_n;
    char *dot = at ? memchr(at + first_n, '.', (size_t)(end - at) - first_n) : NULL;
    long seq = dot ? atol(dot + 1) : -1;          /* the line ends within the message */
    sentmail *m = seq >= 0 && (size_t)seq < places ? &sent->mails[seq] : NULL;
    size_t head_n = m ? m->head_n : 0, body_n = sent->body_n;
    if (!head_n || (size_t)(end - at) != head_n + body_n || memcmp(at, m->head, head_n) || memcmp(at + head_n, sent->body, body_n) || !only_trace(c->mail, at, &signatures)) {
        st->different++; if (verbose) fprintf(stderr, "not what was sent:\n%.*s\n", (int)n, c->mail);
        return;
    }
    st->same++; st->signatures += (uint64_t)signatures;
    if (m->arrived++) st->twice++; else m->arrived_us = now;
}
static void message_done(conn *c) {
    uint64_t now = wall_us();
    if (sent) compare(c, now);
    if (!st->first_us) st->first_us = now;
    st->last_us = now; st->bytes += c->bytes; st->msgs++; st->rcpts += (uint64_t)c->rcpts;
    if (c->file) { fclose(c->file); c->file = NULL; }
    c->data = 0; c->rcpts = 0; say(c, "250 2.0.0 taken\r\n");
}
static void tls_step(conn *c) {
    int r = SSL_accept(c->ssl);
    if (r == 1) {
        c->tls_hs = 0; st->tls++; snprintf(st->spoken, sizeof st->spoken, "%s %s", SSL_get_version(c->ssl), SSL_get_cipher_name(c->ssl));
        if (SSL_session_reused(c->ssl)) st->resumed++;
        arm(c, EPOLLIN);
        if (implicit) { say(c, "220 sink ESMTP\r\n"); flush_out(c); }
        return;
    }
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
        c->data = 1; c->tail = 2; c->bytes = 0; c->mail_n = 0; say(c, "354 go on\r\n");
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
    if (sent) keep(c, p, i);
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
    const char *statf = NULL, *sentf = NULL; int k;
    static const struct option lo[] = {{"stats",1,0,'s'},{"host",1,0,'h'},{"port",1,0,'p'},{"cert",1,0,'c'},{"key",1,0,'k'},{"implicit",0,0,'i'},{"save",1,0,'d'},{"verbose",0,0,'v'},{"addresses",1,0,'a'},{"sent",1,0,'t'},{"silent",0,0,'q'},{0,0,0,0}};
    while ((k = getopt_long(argc, argv, "s:h:p:c:k:id:va:t:q", lo, NULL)) != -1) switch (k) {
        case 's': statf = optarg; break; case 'h': host = optarg; break; case 'p': port = atoi(optarg); break; case 'c': certf = optarg; break;
        case 'a': addresses = atoi(optarg); break; case 't': sentf = optarg; break; case 'q': silent = 1; break;
        case 'k': keyf = optarg; break; case 'i': implicit = 1; break; case 'd': save = optarg; break; case 'v': verbose = 1; break; default: usage(stderr); return 2; }
    if (!statf) { usage(stderr); return 2; }
    st = sinkstat_map(statf, 1); if (!st) return 2;
    sinkstat_zero(st); st->magic = SINK_MAGIC; st->pid = (uint64_t)getpid();
    if (sentf && !(sent = sent_map(sentf, &places))) return 2;
    signal(SIGPIPE, SIG_IGN); signal(SIGTERM, on_signal); signal(SIGINT, on_signal);
    if (certf) {
        ctx = SSL_CTX_new(TLS_server_method()); SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
        SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
        if (SSL_CTX_use_certificate_chain_file(ctx, certf) != 1 || SSL_CTX_use_PrivateKey_file(ctx, keyf ? keyf : certf, SSL_FILETYPE_PEM) != 1) { ERR_print_errors_fp(stderr); return 2; }
    }
    int one = 1, listening[256]; struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) }; inet_pton(AF_INET, host, &a.sin_addr);
    uint32_t lowest = ntohl(a.sin_addr.s_addr);
    if (addresses < 1 || addresses > 256 || lowest >> 24 != 127 || (lowest + (uint32_t)addresses - 1) >> 24 != 127) { fprintf(stderr, "loopback addresses only, and at most 256\n"); return 2; }
    ep = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < addresses; i++) {
        int ls = listening[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        a.sin_addr.s_addr = htonl(lowest + (uint32_t)i);
        if (bind(ls, (struct sockaddr *)&a, sizeof a) < 0 || listen(ls, 4096) < 0) { perror("bind"); return 2; }
        struct epoll_event e = { .events = EPOLLIN, .data.ptr = &listening[i] }; epoll_ctl(ep, EPOLL_CTL_ADD, ls, &e);
    }
    while (!stop) {
        struct epoll_event ev[256]; int n = epoll_wait(ep, ev, 256, 1000);
        for (int i = 0; i < n; i++) {
            conn *c = ev[i].data.ptr; int *ls = ev[i].data.ptr;
            if (ls >= listening && ls < listening + addresses) {
                int fd;
                while ((fd = accept4(*ls, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    c = calloc(1, sizeof *c); if (!c) abort();
                    c->fd = fd; c->events = EPOLLIN; st->conns++;
                    struct epoll_event x = { .events = EPOLLIN, .data.ptr = c }; epoll_ctl(ep, EPOLL_CTL_ADD, fd, &x);
                    if (silent) continue;
                    if (implicit && ctx) start_tls(c); else { say(c, "220 sink ESMTP\r\n"); if (!flush_out(c)) free(c); }
                }
                continue;
            }
            if ((ev[i].events & EPOLLOUT) && !c->tls_hs && !flush_out(c)) { free(c); continue; }
            on_input(c); if (c->fd < 0) free(c);          /* also of who is silent: what comes is read, and a farewell is seen */
        }
    }
    fprintf(stderr, "smtpsink: %llu messages, %llu connections, %llu handshakes (%llu resumed)\n", (unsigned long long)st->msgs, (unsigned long long)st->conns, (unsigned long long)st->tls, (unsigned long long)st->resumed);
    return 0;
}
