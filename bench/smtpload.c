/* smtpload - submission load generator (RFC 6409), on loopback only. One thread, epoll, OpenSSL; see usage() below.
 * Build: cc -O2 -Wall -Wextra -o smtpload smtpload.c -lssl -lcrypto
 *
 * Latencies reported (milliseconds):
 *   tls     STARTTLS accepted (or connected, with --tls=implicit) -> handshake finished
 *   setup   connect() -> ready to send mail (greeting, EHLO, TLS, EHLO, AUTH)
 *   data    DATA sent -> reply to the end-of-data (with --pipelining: MAIL/RCPT/DATA sent together -> reply)
 *   commit  last byte of the message handed to the socket -> reply to the end-of-data
 *   txn     MAIL FROM sent -> reply to the end-of-data
 *   session connect() -> reply to QUIT (or the connection's end)
 * msgs_per_s counts messages accepted (250 to the end-of-data) from the first connect() to the last 250. */
#define _GNU_SOURCE
#include "smtpperf.h"
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum tlsmode { TLS_NONE, TLS_STARTTLS, TLS_IMPLICIT };
enum authmode { AUTH_NONE, AUTH_PLAIN, AUTH_LOGIN };

static struct {
    const char *host, *port, *user, *pass, *from, *ehlo, *sni, *cafile, *sink, *sent, *iddomain, *ciphers;
    char *rcpt[1000]; int nrcpt;
    char *hdr[64]; int nhdr;
    long messages, per_conn;
    int sessions, pipelining, resume, verbose, keep_going, tls13, tls12;
    double duration, rate, sink_timeout, sink_factor, timeout;
    size_t size;
    enum tlsmode tls; enum authmode auth;
} o = { .host = "127.0.0.1", .port = "587", .from = "sender@example.test", .ehlo = "load.example.test",
        .messages = 1000, .per_conn = 1, .sessions = 10, .size = 4096, .tls = TLS_STARTTLS, .auth = AUTH_NONE,
        .sink_timeout = 120, .sink_factor = 1, .iddomain = "load.example.test", .timeout = 120 };

static void usage(FILE *f) {
    fputs(
"usage: smtpload [options]                 (one line of JSON on stdout when done)\n"
" server    -h --host=127.0.0.1  -p --port=587\n"
"           -t --tls=starttls|implicit|none   --resume (reuse TLS sessions)  --sni=NAME  --cafile=PEM (verify; default: no)\n"
"              --tls12 | --tls13 (that version only)  --ciphers=LIST (TLS 1.2)\n"
"           -u --user=NAME  -w --pass=PASSWORD  --auth=plain|login\n"
" load      -s --sessions=10   sessions kept open at once\n"
"           -n --messages=1000 in all, or -d --duration=SECONDS\n"
"           -m --per-conn=1    messages for each connection (0: no limit)\n"
"           -r --rate=MSGS/S   start messages no faster than this (default: as fast as they are answered)\n"
"           -P --pipelining    MAIL, RCPT and DATA in one flight\n"
"              --timeout=120   give a connection up after so many seconds without progress\n"
" message   -z --size=4096     bytes on the wire, header and body (suffix k or M: 1024s)\n"
"           -f --from=ADDR  -T --to=ADDR[,ADDR...] (a %d in an address: the message's number; %h: its last two digits)\n"
"           -H --header='X-Name: value' (repeatable)\n"
"              --id-domain=NAME  Message-ID is <smtpload.RUN.NUMBER.MICROSECONDS@NAME>, unique for each message\n"
" measure      --sink-stats=FILE   smtpsink's file: also wait until everything accepted has arrived there\n"
"              --sent=FILE         keeps what was sent there, for smtpsink --sent to compare with (--messages alone)\n"
"              --sink-factor=1     mails expected at the sink for each accepted recipient\n"
"              --sink-timeout=120  seconds to wait for it after the last 250\n"
"           -v --verbose       protocol to stderr\n", f);
}
static void die(const char *fmt, ...) { va_list a; va_start(a, fmt); vfprintf(stderr, fmt, a); va_end(a); fputc('\n', stderr); exit(2); }

/* ---------------------------------------------------------------- the message */

static char *body; static size_t body_len;        /* dot-stuffed, CRLF, ends with CRLF, constant over the run */
static char *mime_hdr;                            /* MIME header fields that go with it */
static char run_id[32];

static const char TEXT_PART[] =
"Dear Ms. Example,\r\n\r\n"
"thank you for your order 2024-118-4471. Attached to this message you will find the\r\n"
"contract documents for your policy as agreed in our conversation of last Tuesday.\r\n"
"Please check that the personal details given there are correct, above all the date\r\n"
"of birth and the account number to which benefits are to be paid.\r\n\r\n"
"  * Start of cover:      2024-07-01, 00:00\r\n"
"  * Yearly premium:      EUR 1,284.60 (tax included)\r\n"
"  * Payment:             quarterly, by direct debit\r\n\r\n"
"If anything is unclear you can answer this mail directly, or reach us from Monday to\r\n"
"Friday between 8:00 and 18:00 under the number given below.\r\n\r\n"
"With kind regards\r\n\r\nJane Doe\r\nCustomer Service\r\n-- \r\nExample Insurance Ltd, 1 Main Street, Exampletown\r\n"
"Phone +00 000 000 00 00, https://www.example.test/\r\n";
static const char HTML_HEAD[] =
"<!DOCTYPE html>\r\n<html lang=3D\"en\"><head><meta http-equiv=3D\"Content-Type\" content=\r\n=3D\"text/html; charset=3Dutf-8\">"
"<style>body{font-family:Arial,sans-serif;font-s=\r\nize:14px;color:#222}td{padding:4px 12px;border-bottom:1px solid #ddd}</style=\r\n></head><body>\r\n"
"<p>Dear Ms. Example,</p>\r\n<p>thank you for your order <b>2024-118-4471</b>. Attached to this message you=\r\n will find the "
"contract documents for your policy as agreed in our conversatio=\r\nn of last Tuesday.</p>\r\n<table cellspacing=3D\"0\" cellpadding=3D\"0\">\r\n"
"<tr><td>Start of cover</td><td>2024-07-01, 00:00</td></tr>\r\n<tr><td>Yearly premium</td><td>=E2=82=AC 1,284.60</td></tr>\r\n"
"<tr><td>Payment</td><td>quarterly, by direct debit</td></tr>\r\n</table>\r\n";
static const char HTML_FILL[] = "<p>If anything is unclear you can answer this mail directly, or reach us =E2=\r\n=80=93 Monday to Friday.</p>\r\n";
static const char HTML_TAIL[] = "<p>With kind regards<br>Jane Doe<br><i>Customer Service</i></p>\r\n</body></html>\r\n";

typedef struct { char *p; size_t n, cap; } buf;
static void buf_room(buf *b, size_t n) {
    if (b->n + n > b->cap) { b->cap = (b->n + n) * 2 + 256; b->p = realloc(b->p, b->cap); if (!b->p) die("out of memory"); }
}
static void buf_add(buf *b, const void *p, size_t n) { buf_room(b, n); memcpy(b->p + b->n, p, n); b->n += n; }
static void buf_str(buf *b, const char *s) { buf_add(b, s, strlen(s)); }
static void buf_fmt(buf *b, const char *fmt, ...) {
    va_list a; char t[4096]; va_start(a, fmt); int n = vsnprintf(t, sizeof t, fmt, a); va_end(a); buf_add(b, t, (size_t)n < sizeof t ? (size_t)n : sizeof t - 1);
}
static void buf_addr(buf *b, const char *addr, long seq) {       /* a %d in the address becomes seq, a %h its last two digits */
    for (const char *d; (d = strchr(addr, '%')); addr = d + 2) {
        buf_add(b, addr, (size_t)(d - addr));
        if (d[1] == 'd') buf_fmt(b, "%ld", seq); else if (d[1] == 'h') buf_fmt(b, "%ld", seq % 100); else { buf_add(b, d, 1); d--; }
    }
    buf_str(b, addr);
}

static void message_header(buf *b, long seq, uint64_t stamp) {
    static char date[64]; static time_t date_at;
    time_t t = (time_t)(stamp / 1000000u);
    if (t != date_at) { struct tm tm; gmtime_r(&t, &tm); strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S +0000", &tm); date_at = t; }
    buf_fmt(b, "Message-ID: <smtpload.%s.%ld.%llu@%s>\r\nDate: %s\r\nFrom: \"Load, Sender\" <", run_id, seq, (unsigned long long)stamp, o.iddomain, date);
    buf_addr(b, o.from, seq); buf_str(b, ">\r\nTo: ");
    for (int i = 0; i < o.nrcpt; i++) { if (i) buf_str(b, ",\r\n "); buf_str(b, "<"); buf_addr(b, o.rcpt[i], seq); buf_str(b, ">"); }
    buf_fmt(b, "\r\nSubject: Your contract documents, no. %ld\r\n", seq);
    for (int i = 0; i < o.nhdr; i++) { buf_str(b, o.hdr[i]); buf_str(b, "\r\n"); }
    buf_str(b, mime_hdr); buf_str(b, "\r\n");
}

static void make_body(void) {
    buf b = {0};
    buf h = {0}; int big = o.size > 16384;
    mime_hdr = big ? "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"=_mix_7f3a\"\r\n"
                   : "MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=\"=_alt_51c2\"\r\n";
    message_header(&h, 100000, wall_us());
    size_t want = o.size > h.n ? o.size - h.n : 0;
    if (big) buf_str(&b, "--=_mix_7f3a\r\nContent-Type: multipart/alternative; boundary=\"=_alt_51c2\"\r\n\r\n");
    buf_str(&b, "--=_alt_51c2\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n");
    buf_str(&b, TEXT_PART);
    buf_str(&b, "\r\n--=_alt_51c2\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n");
    buf_str(&b, HTML_HEAD);
    size_t tail = strlen(HTML_TAIL) + strlen("\r\n--=_alt_51c2--\r\n");
    size_t fill_to = big ? 4096 : want;
    while (b.n + tail + strlen(HTML_FILL) <= fill_to) buf_str(&b, HTML_FILL);
    while (!big && b.n + tail + 8 <= fill_to) {                  /* the odd rest, as a comment of the right length */
        size_t rest = fill_to - b.n - tail; if (rest > 76) rest = 76;
        buf_str(&b, "<!--"); for (size_t i = 0; i + 9 < rest; i++) buf_str(&b, "x"); buf_str(&b, "-->\r\n");
        if (rest < 9) break;
    }
    buf_str(&b, HTML_TAIL); buf_str(&b, "\r\n--=_alt_51c2--\r\n");
    if (big) {                                    /* a base64 attachment of random bytes fills the size */
        static const char A[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        buf_str(&b, "\r\n--=_mix_7f3a\r\nContent-Type: application/pdf; name=\"contract.pdf\"\r\n"
                    "Content-Disposition: attachment; filename=\"contract.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\n");
        const char *end = "\r\n--=_mix_7f3a--\r\n"; uint64_t x = 88172645463325252ull;
        while (b.n + 78 + strlen(end) <= want) {
            char line[78];
            for (int i = 0; i < 76; i++) { x ^= x << 13; x ^= x >> 7; x ^= x << 17; line[i] = A[x & 63]; }
            line[76] = '\r'; line[77] = '\n'; buf_add(&b, line, 78);
        }
        buf_str(&b, end);
    }
    body = b.p; body_len = b.n; free(h.p);
}

static sentfile *sent;
static void open_sent(void) {                     /* what is kept of an earlier run goes; no line here begins with a dot, so none is stuffed */
    size_t places;
    sent = sent_map(o.sent, &places); if (!sent) exit(2);
    if (o.duration > 0 || (size_t)o.messages > places) die("--sent: %zu places are too few", places);
    if (body_len > sizeof sent->body || memmem(body, body_len, "\r\n.", 3)) die("--sent: not with such a body");
    memcpy(sent->body, body, body_len); sent->body_n = body_len;
    for (size_t i = 0; i < places; i++) if (sent->mails[i].head_n) { sent->mails[i].head_n = sent->mails[i].arrived = 0; sent->mails[i].arrived_us = 0; }
}
static void keep_sent(long seq, const char *head, size_t n) {
    if (n > sizeof sent->mails[seq].head) die("--sent: the header section is too long");
    memcpy(sent->mails[seq].head, head, n); sent->mails[seq].head_n = (uint32_t)n;
}

/* ---------------------------------------------------------------- samples */

typedef struct { float *v; size_t n, cap; } samples;
static samples s_tls, s_setup, s_data, s_commit, s_txn, s_session;
static void sample(samples *s, uint64_t from, uint64_t to) {
    if (s->n == s->cap) { s->cap = s->cap ? s->cap * 2 : 4096; s->v = realloc(s->v, s->cap * sizeof *s->v); if (!s->v) die("out of memory"); }
    s->v[s->n++] = (float)((double)(to - from) / 1000.0);
}
static int cmpf(const void *a, const void *b) { float x = *(const float *)a, y = *(const float *)b; return x < y ? -1 : x > y; }
static void print_samples(const char *name, samples *s) {
    if (!s->n) return;
    qsort(s->v, s->n, sizeof *s->v, cmpf);
    double sum = 0; for (size_t i = 0; i < s->n; i++) sum += s->v[i];
    #define Q(p) s->v[(size_t)((p) * (double)(s->n - 1))]
    printf(",\"%s_ms\":{\"mean\":%.3f,\"p50\":%.3f,\"p90\":%.3f,\"p99\":%.3f,\"max\":%.3f}", name, sum / (double)s->n, Q(.5), Q(.9), Q(.99), Q(1));
}

/* ---------------------------------------------------------------- a session */

enum state { S_CLOSED, S_CONNECT, S_GREET, S_EHLO, S_STARTTLS, S_TLS, S_EHLO2, S_AUTH, S_AUTH_USER, S_AUTH_PASS, S_IDLE, S_MAIL, S_RCPT, S_DATA, S_DOT, S_QUIT };
static const char *state_name[] = { "closed", "connect", "greeting", "EHLO", "STARTTLS", "TLS", "EHLO after TLS", "AUTH", "AUTH user", "AUTH password", "idle", "MAIL", "RCPT", "DATA", "end of data", "QUIT" };
typedef struct {
    int fd, idx, rcpt_at, can_pipeline, ready; uint32_t events; enum state st;
    SSL *ssl; SSL_SESSION *sess;
    char in[8192]; size_t in_n;
    buf out; size_t out_off; const char *big; size_t big_n, big_off; int big_tail;
    long seq, sent; int body_done;               /* body_done: 1 queued, 2 handed to the socket */
    uint64_t t_conn, t_tls, t_mail, t_data, t_bodyend, t_progress, due;
    uint64_t stamp;
} conn;

static SSL_CTX *ctx; static int ep; static conn *C; static struct addrinfo *addr;
static long next_seq, accepted, rejected, conn_errors, conns_opened, conns_tls, resumed; static int open_conns, starting, stopping;   /* starting: connected, not yet ready to send */
static uint64_t t_start, t_last_ok, t_stop; static char first_error[700]; static char tls_name[128];

static void note_error(conn *c, const char *what) {
    if (!first_error[0]) snprintf(first_error, sizeof first_error, "%s: %s", state_name[c->st], what);
    if (o.verbose) fprintf(stderr, "[%d] %s: %s\n", c->idx, state_name[c->st], what);
}
static void arm(conn *c, int want_write) {
    uint32_t ev = EPOLLIN | (want_write ? EPOLLOUT : 0);
    if (ev == c->events) return;
    struct epoll_event e = { .events = ev, .data.ptr = c };
    epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e); c->events = ev;
}
static void close_conn(conn *c, int error) {
    if (c->st == S_CLOSED) return;
    if (error) conn_errors++; else sample(&s_session, c->t_conn, now_us());
    if (c->ssl) {
        if (o.resume && !error) { SSL_SESSION *s = SSL_get1_session(c->ssl); if (s && SSL_SESSION_is_resumable(s)) { if (c->sess) SSL_SESSION_free(c->sess); c->sess = s; } else if (s) SSL_SESSION_free(s); }
        if (!error) SSL_shutdown(c->ssl);
        SSL_free(c->ssl); c->ssl = NULL; ERR_clear_error();
    }
    if (!c->ready) starting--;
    close(c->fd); c->fd = -1; c->st = S_CLOSED; open_conns--;
}
static int work_left(void) {
    if (stopping) return 0;
    return o.duration > 0 ? now_us() < t_stop : next_seq < o.messages;
}
static void open_conn(conn *c) {
    c->fd = socket(addr->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) die("socket: %s", strerror(errno));
    int one = 1; setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->in_n = 0; c->out.n = c->out_off = 0; c->big = NULL; c->sent = 0; c->can_pipeline = c->ready = 0;
    c->t_conn = c->t_progress = now_us(); c->st = S_CONNECT; c->due = 0; conns_opened++; open_conns++; starting++;
    int r = connect(c->fd, addr->ai_addr, addr->ai_addrlen);
    if (r < 0 && errno != EINPROGRESS) { note_error(c, strerror(errno)); close_conn(c, 1); return; }
    c->events = EPOLLIN | EPOLLOUT;
    struct epoll_event e = { .events = c->events, .data.ptr = c };
    epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e);
}

static void flush_out(conn *c) {                  /* write what is queued: out, then the big body, then the end-of-data */
    for (;;) {
        const char *p; size_t n; int which;
        if (c->out_off < c->out.n) { p = c->out.p + c->out_off; n = c->out.n - c->out_off; which = 0; }
        else if (c->big && c->big_off < c->big_n) { p = c->big + c->big_off; n = c->big_n - c->big_off; which = 1; }
        else {
            c->out.n = c->out_off = 0;
            if (c->big_tail) { c->big = NULL; c->big_tail = 0; buf_str(&c->out, ".\r\n"); continue; }
            c->big = NULL;
            if (c->body_done == 1) { c->body_done = 2; c->t_bodyend = now_us(); }
            arm(c, 0); return;
        }
        if (n > 262144) n = 262144;
        long w;
        if (c->ssl) {
            int r = SSL_write(c->ssl, p, (int)n);
            if (r <= 0) {
                int e = SSL_get_error(c->ssl, r);
                if (e == SSL_ERROR_WANT_WRITE) { arm(c, 1); return; }
                if (e == SSL_ERROR_WANT_READ) { arm(c, 0); return; }
                note_error(c, "TLS write failed"); ERR_clear_error(); close_conn(c, 1); return;
            }
            w = r;
        } else {
            w = send(c->fd, p, n, MSG_NOSIGNAL);
            if (w < 0) { if (errno == EAGAIN) { arm(c, 1); return; } note_error(c, strerror(errno)); close_conn(c, 1); return; }
        }
        c->t_progress = now_us();
        if (which) c->big_off += (size_t)w; else c->out_off += (size_t)w;
    }
}
static void cmd(conn *c, enum state st, const char *fmt, ...) {
    va_list a; char t[2048]; va_start(a, fmt); int n = vsnprintf(t, sizeof t, fmt, a); va_end(a);
    if (o.verbose) fprintf(stderr, "[%d] C: %.*s\n", c->idx, n, t);
    buf_add(&c->out, t, (size_t)n); buf_add(&c->out, "\r\n", 2); c->st = st; flush_out(c);
}
static void cmd_addr(conn *c, const char *verb, const char *addr_) { buf_str(&c->out, verb); buf_str(&c->out, "<"); buf_addr(&c->out, addr_, c->seq); buf_str(&c->out, ">\r\n"); }

static void begin_message(conn *c) {              /* MAIL FROM, with --pipelining also RCPT TO and DATA */
    c->due = 0; c->t_progress = c->t_mail = now_us(); c->stamp = wall_us(); c->st = S_MAIL;
    cmd_addr(c, "MAIL FROM:", o.from);
    if (o.pipelining && c->can_pipeline) {
        for (int i = 0; i < o.nrcpt; i++) cmd_addr(c, "RCPT TO:", o.rcpt[i]);
        buf_str(&c->out, "DATA\r\n"); c->t_data = c->t_mail;
    }
    flush_out(c);
}
static void next_message(conn *c) {
    if ((o.per_conn && c->sent >= o.per_conn) || !work_left()) { cmd(c, S_QUIT, "QUIT"); return; }
    c->seq = next_seq++; c->sent++; c->rcpt_at = 0; c->body_done = 0;
    if (o.rate > 0) {                             /* not before its time: the main loop begins it */
        c->due = t_start + (uint64_t)((double)c->seq / o.rate * 1e6);
        if (c->due > now_us()) { c->st = S_IDLE; return; }
    }
    begin_message(c);
}
static void send_body(conn *c) {
    size_t before = c->out.n;
    message_header(&c->out, c->seq, c->stamp);
    if (sent) keep_sent(c->seq, c->out.p + before, c->out.n - before);
    if (body_len <= 12000) { buf_add(&c->out, body, body_len); buf_str(&c->out, ".\r\n"); }
    else { c->big = body; c->big_n = body_len; c->big_off = 0; c->big_tail = 1; }
    c->body_done = 1; c->st = S_DOT; flush_out(c);
}
static void b64(char *dst, const char *src, size_t n) { EVP_EncodeBlock((unsigned char *)dst, (const unsigned char *)src, (int)n); }
static void start_tls(conn *c);
static void ready(conn *c) { c->ready = 1; starting--; sample(&s_setup, c->t_conn, now_us()); next_message(c); }
static void fail(conn *c, const char *why) { note_error(c, why); close_conn(c, 1); }

static void on_reply(conn *c, int code, const char *text) {
    int ok = code >= 200 && code < 300, has_auth;
    switch (c->st) {
    case S_GREET: if (!ok) { fail(c, text); return; } cmd(c, o.tls == TLS_STARTTLS ? S_EHLO : S_EHLO2, "EHLO %s", o.ehlo); return;
    case S_EHLO:
        if (!ok || !strcasestr(text, "STARTTLS")) { fail(c, ok ? "no STARTTLS offered" : text); return; }
        cmd(c, S_STARTTLS, "STARTTLS"); return;
    case S_STARTTLS: if (code != 220) { fail(c, text); return; } start_tls(c); return;
    case S_EHLO2:
        if (!ok) { fail(c, text); return; }
        c->can_pipeline = strcasestr(text, "PIPELINING") != NULL; has_auth = strcasestr(text, "AUTH") != NULL;
        if (o.auth == AUTH_NONE) { ready(c); return; }
        if (!has_auth) { fail(c, "no AUTH offered"); return; }
        if (o.auth == AUTH_PLAIN) {
            char raw[600], enc[900];
            size_t ul = strlen(o.user), pl = strlen(o.pass); if (ul + pl + 2 > sizeof raw) die("user and password are too long"); raw[0] = 0; memcpy(raw + 1, o.user, ul + 1); memcpy(raw + ul + 2, o.pass, pl);
            b64(enc, raw, ul + pl + 2); cmd(c, S_AUTH, "AUTH PLAIN %s", enc);
        } else cmd(c, S_AUTH_USER, "AUTH LOGIN");
        return;
    case S_AUTH_USER: case S_AUTH_PASS: {
        if (code != 334) { fail(c, text); return; }
        char enc[900]; const char *s = c->st == S_AUTH_USER ? o.user : o.pass; if (strlen(s) > 600) die("user or password is too long");
        b64(enc, s, strlen(s)); cmd(c, c->st == S_AUTH_USER ? S_AUTH_PASS : S_AUTH, "%s", enc); return; }
    case S_AUTH: if (code != 235) { fail(c, text); return; } ready(c); return;
    case S_MAIL:
        if (!ok) { rejected++; fail(c, text); return; }
        c->st = S_RCPT; if (o.pipelining && c->can_pipeline) return;
        cmd_addr(c, "RCPT TO:", o.rcpt[0]); flush_out(c); return;
    case S_RCPT:
        if (!ok) { rejected++; fail(c, text); return; }
        if (++c->rcpt_at < o.nrcpt) { if (!(o.pipelining && c->can_pipeline)) { cmd_addr(c, "RCPT TO:", o.rcpt[c->rcpt_at]); flush_out(c); } return; }
        c->st = S_DATA; if (!(o.pipelining && c->can_pipeline)) { c->t_data = now_us(); buf_str(&c->out, "DATA\r\n"); flush_out(c); }
        return;
    case S_DATA: if (code != 354) { rejected++; fail(c, text); return; } send_body(c); return;
    case S_DOT: {
        uint64_t t = now_us();
        if (!ok) { rejected++; fail(c, text); return; }
        accepted++; t_last_ok = t;
        sample(&s_data, c->t_data, t); sample(&s_txn, c->t_mail, t); if (c->body_done == 2) sample(&s_commit, c->t_bodyend, t);
        next_message(c); return; }
    case S_QUIT: close_conn(c, 0); return;
    default: fail(c, "a reply nobody asked for"); return;
    }
}
static void on_input(conn *c) {                   /* read what is there, hand over every complete reply */
    for (;;) {
        if (c->st == S_CLOSED || c->st == S_TLS) return;
        if (c->in_n >= sizeof c->in) { fail(c, "reply too long"); return; }
        long r;
        if (c->ssl) {
            int k = SSL_read(c->ssl, c->in + c->in_n, (int)(sizeof c->in - c->in_n));
            if (k <= 0) {
                int e = SSL_get_error(c->ssl, k);
                if (e == SSL_ERROR_WANT_READ) return;
                if (e == SSL_ERROR_WANT_WRITE) { arm(c, 1); return; }
                ERR_clear_error(); if (c->st == S_QUIT) close_conn(c, 0); else fail(c, "connection closed"); return;
            }
            r = k;
        } else {
            r = recv(c->fd, c->in + c->in_n, sizeof c->in - c->in_n, 0);
            if (r < 0 && errno == EAGAIN) return;
            if (r <= 0) { if (c->st == S_QUIT) close_conn(c, 0); else fail(c, r ? strerror(errno) : "connection closed"); return; }
        }
        c->in_n += (size_t)r; c->t_progress = now_us();
        size_t start = 0, pos = 0;
        while (pos < c->in_n) {
            char *nl = memchr(c->in + pos, '\n', c->in_n - pos); if (!nl) break;
            size_t end = (size_t)(nl - c->in) + 1;
            if (end - pos >= 4 && c->in[pos + 3] == '-') { pos = end; continue; }     /* more lines follow */
            char t[4096]; size_t tl = end - start < sizeof t - 1 ? end - start : sizeof t - 1; memcpy(t, c->in + start, tl);
            while (tl && (t[tl - 1] == '\n' || t[tl - 1] == '\r')) tl--;
            t[tl] = 0; int code = atoi(c->in + pos); start = pos = end;
            if (o.verbose) fprintf(stderr, "[%d] S: %s\n", c->idx, t);
            SSL *before = c->ssl;
            on_reply(c, code, t);
            if (c->st == S_CLOSED || c->ssl != before) return;      /* gone, or TLS began: in[] was started anew */
        }
        if (start) { memmove(c->in, c->in + start, c->in_n - start); c->in_n -= start; }
    }
}
static void tls_step(conn *c) {
    int r = SSL_do_handshake(c->ssl);
    if (r == 1) {
        sample(&s_tls, c->t_tls, now_us()); conns_tls++; if (SSL_session_reused(c->ssl)) resumed++;
        if (!tls_name[0]) {
            X509 *x = SSL_get1_peer_certificate(c->ssl); EVP_PKEY *k = x ? X509_get0_pubkey(x) : NULL;
            snprintf(tls_name, sizeof tls_name, "%s %s %s-%d", SSL_get_version(c->ssl), SSL_get_cipher_name(c->ssl), k ? EVP_PKEY_get0_type_name(k) : "", k ? EVP_PKEY_get_bits(k) : 0);
            X509_free(x);
        }
        arm(c, 0);
        if (o.tls == TLS_IMPLICIT) c->st = S_GREET; else cmd(c, S_EHLO2, "EHLO %s", o.ehlo);
        if (c->st != S_CLOSED) on_input(c);
        return;
    }
    int e = SSL_get_error(c->ssl, r); c->t_progress = now_us();
    if (e == SSL_ERROR_WANT_READ) arm(c, 0);
    else if (e == SSL_ERROR_WANT_WRITE) arm(c, 1);
    else { char m[256]; ERR_error_string_n(ERR_get_error(), m, sizeof m); ERR_clear_error(); fail(c, m); }
}
static void start_tls(conn *c) {
    c->ssl = SSL_new(ctx); SSL_set_fd(c->ssl, c->fd); SSL_set_connect_state(c->ssl);
    if (o.sni) SSL_set_tlsext_host_name(c->ssl, o.sni);
    if (o.resume && c->sess) SSL_set_session(c->ssl, c->sess);
    c->in_n = 0; c->st = S_TLS; c->t_tls = now_us(); tls_step(c);
}
static void on_event(conn *c, uint32_t ev) {
    if (c->st == S_CLOSED) return;
    if (c->st == S_CONNECT) {
        if (!(ev & (EPOLLOUT | EPOLLERR | EPOLLHUP))) return;
        int err = 0; socklen_t l = sizeof err; getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &l);
        if (err) { fail(c, strerror(err)); return; }
        if (o.tls == TLS_IMPLICIT) { start_tls(c); return; }
        arm(c, 0); c->st = S_GREET; return;
    }
    if (c->st == S_TLS) { tls_step(c); return; }
    if (ev & EPOLLOUT) flush_out(c);
    if (c->st != S_CLOSED && (ev & (EPOLLIN | EPOLLHUP | EPOLLERR))) on_input(c);
}
static void on_signal(int s) { (void)s; stopping = 1; }

/* ---------------------------------------------------------------- options, the run, the report */

static size_t parse_size(const char *s) {
    char *e; double v = strtod(s, &e);
    if (*e == 'k' || *e == 'K') v *= 1024; else if (*e == 'm' || *e == 'M') v *= 1048576;
    return (size_t)v;
}
static void json_str(const char *key, const char *v) {
    printf("\"%s\":\"", key);
    for (; *v; v++) if (*v == '"' || *v == '\\') printf("\\%c", *v); else if ((unsigned char)*v < 32) putchar(' '); else putchar(*v);
    putchar('"');
}
int main(int argc, char **argv) {
    enum { O_AUTH = 256, O_RESUME, O_SNI, O_CA, O_T12, O_T13, O_CIPH, O_TIMEOUT, O_IDDOM, O_SINK, O_SENT, O_FACTOR, O_SINKT, O_HELP };
    static const struct option lo[] = {
        {"host",1,0,'h'},{"port",1,0,'p'},{"tls",1,0,'t'},{"user",1,0,'u'},{"pass",1,0,'w'},{"auth",1,0,O_AUTH},{"resume",0,0,O_RESUME},
        {"sni",1,0,O_SNI},{"cafile",1,0,O_CA},{"tls12",0,0,O_T12},{"tls13",0,0,O_T13},{"ciphers",1,0,O_CIPH},{"sessions",1,0,'s'},{"messages",1,0,'n'},{"duration",1,0,'d'},
        {"per-conn",1,0,'m'},{"rate",1,0,'r'},{"pipelining",0,0,'P'},{"timeout",1,0,O_TIMEOUT},{"size",1,0,'z'},{"from",1,0,'f'},{"to",1,0,'T'},
        {"header",1,0,'H'},{"id-domain",1,0,O_IDDOM},{"sink-stats",1,0,O_SINK},{"sent",1,0,O_SENT},
        {"sink-factor",1,0,O_FACTOR},{"sink-timeout",1,0,O_SINKT},{"verbose",0,0,'v'},{"help",0,0,O_HELP},{0,0,0,0} };
    int k;
    while ((k = getopt_long(argc, argv, "h:p:t:u:w:s:n:d:m:r:Pz:f:T:H:v", lo, NULL)) != -1) switch (k) {
        case 'h': o.host = optarg; break; case 'p': o.port = optarg; break;
        case 't': o.tls = !strcmp(optarg, "none") ? TLS_NONE : !strcmp(optarg, "implicit") ? TLS_IMPLICIT : TLS_STARTTLS; break;
        case 'u': o.user = optarg; if (o.auth == AUTH_NONE) o.auth = AUTH_PLAIN; break; case 'w': o.pass = optarg; break;
        case O_AUTH: o.auth = !strcmp(optarg, "login") ? AUTH_LOGIN : AUTH_PLAIN; break;
        case O_RESUME: o.resume = 1; break; case O_SNI: o.sni = optarg; break; case O_CA: o.cafile = optarg; break;
        case O_T12: o.tls12 = 1; break; case O_T13: o.tls13 = 1; break; case O_CIPH: o.ciphers = optarg; break;
        case 's': o.sessions = atoi(optarg); break; case 'n': o.messages = atol(optarg); break; case 'd': o.duration = atof(optarg); break;
        case 'm': o.per_conn = atol(optarg); break; case 'r': o.rate = atof(optarg); break; case 'P': o.pipelining = 1; break;
        case O_TIMEOUT: o.timeout = atof(optarg); break;
        case 'z': o.size = parse_size(optarg); break; case 'f': o.from = optarg; break;
        case 'T': for (char *t = strtok(strdup(optarg), ","); t && o.nrcpt < 1000; t = strtok(NULL, ",")) o.rcpt[o.nrcpt++] = t; break;
        case 'H': if (o.nhdr < 64) o.hdr[o.nhdr++] = optarg; break;
        case O_IDDOM: o.iddomain = optarg; break;
        case O_SINK: o.sink = optarg; break;
        case O_SENT: o.sent = optarg; break;
        case O_FACTOR: o.sink_factor = atof(optarg); break; case O_SINKT: o.sink_timeout = atof(optarg); break;
        case 'v': o.verbose = 1; break;
        case O_HELP: usage(stdout); return 0;
        default: usage(stderr); return 2;
    }
    if (optind < argc || o.sessions < 1 || (o.auth != AUTH_NONE && (!o.user || !o.pass))) { usage(stderr); return 2; }
    if (!o.nrcpt) o.rcpt[o.nrcpt++] = "rcpt@sink.test";
    signal(SIGPIPE, SIG_IGN); signal(SIGINT, on_signal); signal(SIGTERM, on_signal);
    snprintf(run_id, sizeof run_id, "%llx%x", (unsigned long long)(wall_us() / 1000u), (unsigned)getpid());
    struct addrinfo hint = { .ai_socktype = SOCK_STREAM }; int ge = getaddrinfo(o.host, o.port, &hint, &addr);
    if (ge) die("%s:%s: %s", o.host, o.port, gai_strerror(ge));
    if (addr->ai_family != AF_INET || ntohl(((struct sockaddr_in *)addr->ai_addr)->sin_addr.s_addr) >> 24 != 127) die("loopback addresses only");
    ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(ctx, o.tls13 ? TLS1_3_VERSION : TLS1_2_VERSION); if (o.tls12) SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(ctx, o.resume ? SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL : SSL_SESS_CACHE_OFF);
    SSL_CTX_set1_groups_list(ctx, "X25519:P-256"); if (o.ciphers) SSL_CTX_set_cipher_list(ctx, o.ciphers);
    if (o.cafile) { if (SSL_CTX_load_verify_locations(ctx, o.cafile, NULL) != 1) die("%s: cannot load", o.cafile); SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL); }
    make_body(); if (o.sent) open_sent();
    buf probe = {0}; message_header(&probe, 100000, wall_us()); size_t wire = probe.n + body_len;
    sinkstat *ss = NULL; if (o.sink) { ss = sinkstat_map(o.sink, 0); if (!ss) return 2; sinkstat_zero(ss); }
    ep = epoll_create1(EPOLL_CLOEXEC); C = calloc((size_t)o.sessions, sizeof *C);
    for (int i = 0; i < o.sessions; i++) { C[i].idx = i; C[i].fd = -1; }

    uint64_t wall0 = wall_us(); t_start = now_us(); t_stop = t_start + (uint64_t)(o.duration * 1e6); t_last_ok = t_start;
    long give_up = 50L + o.sessions;              /* so many failed connections end the run */
    uint64_t next_tick = t_start;
    for (;;) {
        int waiting = 0; uint64_t t = now_us(), soonest = t + 200000;
        if (t >= next_tick) {                     /* four times a second: connections that are stuck */
            next_tick = t + 250000;
            for (int i = 0; i < o.sessions; i++) if (C[i].st != S_CLOSED && C[i].st != S_IDLE && (double)(t - C[i].t_progress) > o.timeout * 1e6) fail(&C[i], "timed out");
        }
        if (open_conns < o.sessions && work_left() && conn_errors < give_up)
            for (int i = 0; i < o.sessions && work_left(); i++) if (C[i].st == S_CLOSED) {
                if (o.duration <= 0 && next_seq + starting >= o.messages) break;     /* no connection without a message */
                open_conn(&C[i]);
            }
        if (o.rate > 0) for (int i = 0; i < o.sessions; i++) if (C[i].st == S_IDLE) {
            if (C[i].due <= t) begin_message(&C[i]);
            else { waiting++; if (C[i].due < soonest) soonest = C[i].due; }
        }
        if (!open_conns && (!work_left() || conn_errors >= give_up)) break;
        if (stopping && t > t_last_ok + 5000000u) break;
        struct epoll_event ev[256]; int ms = (int)((soonest - t) / 1000u);
        int n = epoll_wait(ep, ev, 256, waiting && ms < 1 ? 1 : ms);
        for (int i = 0; i < n; i++) on_event(ev[i].data.ptr, ev[i].events);
    }
    double secs = (double)(t_last_ok - t_start) / 1e6; if (secs <= 0) secs = 1e-9;

    uint64_t want = (uint64_t)((double)accepted * o.nrcpt * o.sink_factor + 1e-6), still = now_us();
    if (ss) {
        uint64_t seen = 0;
        while (ss->rcpts < want && !stopping) {
            usleep(5000); if (ss->rcpts != seen) { seen = ss->rcpts; still = now_us(); }
            if ((double)(now_us() - still) > o.sink_timeout * 1e6) break;
        }
    }

    printf("{\"port\":%s,\"sessions\":%d,\"per_conn\":%ld,\"size\":%zu,\"rcpts\":%d,\"pipelining\":%s,\"rate\":%g,", o.port, o.sessions, o.per_conn, wire, o.nrcpt, o.pipelining ? "true" : "false", o.rate);
    json_str("tls", tls_name); printf(",\"conns\":%ld,\"tls_handshakes\":%ld,\"resumed\":%ld", conns_opened, conns_tls, resumed);
    printf(",\"accepted\":%ld,\"rejected\":%ld,\"errors\":%ld,\"seconds\":%.3f,\"msgs_per_s\":%.1f,\"mib_per_s\":%.2f", accepted, rejected, conn_errors, secs, (double)accepted / secs, (double)accepted * (double)wire / secs / 1048576);
    print_samples("tls", &s_tls); print_samples("setup", &s_setup); print_samples("data", &s_data); print_samples("commit", &s_commit); print_samples("txn", &s_txn); print_samples("session", &s_session);
    if (ss) printf(",\"sink\":{\"msgs\":%llu,\"rcpts\":%llu,\"expected\":%llu,\"conns\":%llu,\"tls\":%llu,\"resumed\":%llu,\"seconds\":%.3f}",
        (unsigned long long)ss->msgs, (unsigned long long)ss->rcpts, (unsigned long long)want, (unsigned long long)ss->conns, (unsigned long long)ss->tls, (unsigned long long)ss->resumed,
        ss->last_us > wall0 ? (double)(ss->last_us - wall0) / 1e6 : 0);
    if (first_error[0]) { putchar(','); json_str("first_error", first_error); }
    puts("}");
    return accepted && !rejected && !conn_errors ? 0 : 1;
}
