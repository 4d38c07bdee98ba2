// What a Linux guest does with its vsock for tests/lab/linux_devices: one job per call, asked of the host by
// the first byte on each connection. Static, for an initrd.
//
//   send MIB     'S', that much of a pattern, end of stream; the host checks it and answers "ok"
//   recv MIB     'R' and the size in MiB (a byte each); the host sends the pattern, which is checked here
//   churn N      N connections, one after the other, that say 'E' (echo), get a byte back, and close
//   many N       N connections at once; then one more must be refused, and all of them still work
//   ping N       'E' and N bytes back and forth, one at a time; the longest took … us
//   refused      a port where nobody listens
//   sum N        no connection: reads N bytes of stdin and prints their sum, for the console
//   half         'H', end of stream at once; the host still answers "ok"
#include <errno.h>
#include <linux/vm_sockets.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PORT     1024u
#define CHUNK    65536u
#define MANY_MAX 128

static void fail(const char *what)
{
    printf("FAIL %s: %s\n", what, strerror(errno));
    exit(1);
}

static int try_connect(unsigned port)
{
    int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
    struct sockaddr_vm a = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST, .svm_port = port};
    if (fd < 0)
        fail("socket");
    if (connect(fd, (const struct sockaddr *)&a, sizeof a) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static int connect_and_say(const void *words, size_t len)
{
    int fd = try_connect(PORT);
    if (fd < 0)
        fail("connect");
    if (write(fd, words, len) != (ssize_t)len)
        fail("write");
    return fd;
}

static void fill(uint8_t *chunk, uint64_t at)
{
    for (size_t i = 0; i < CHUNK; i += sizeof at) {
        uint64_t v = (at + i) * 0x9e3779b97f4a7c15u;
        memcpy(chunk + i, &v, sizeof v);
    }
}

static void expect_ok(int fd)
{
    char answer[2];
    if (recv(fd, answer, 2, MSG_WAITALL) != 2 || memcmp(answer, "ok", 2) != 0)
        fail("the host's answer");
    char end;
    if (read(fd, &end, 1) != 0)
        fail("the end of the host's stream");
    close(fd);
}

static void do_send(unsigned mib)
{
    static uint8_t chunk[CHUNK];
    int fd = connect_and_say("S", 1);
    for (uint64_t at = 0; at < (uint64_t)mib << 20; at += CHUNK) {
        fill(chunk, at);
        for (size_t done = 0; done < CHUNK;) {
            ssize_t n = write(fd, chunk + done, CHUNK - done);
            if (n <= 0)
                fail("write");
            done += (size_t)n;
        }
    }
    shutdown(fd, SHUT_WR);
    expect_ok(fd);
}

static void do_recv(unsigned mib)
{
    static uint8_t chunk[CHUNK], expected[CHUNK];
    const uint8_t words[2] = {'R', (uint8_t)mib};
    int fd = connect_and_say(words, 2);
    for (uint64_t at = 0; at < (uint64_t)mib << 20; at += CHUNK) {
        fill(expected, at);
        if (recv(fd, chunk, CHUNK, MSG_WAITALL) != CHUNK || memcmp(chunk, expected, CHUNK) != 0)
            fail("what was received");
    }
    if (read(fd, chunk, 1) != 0)
        fail("the end of the host's stream");
    close(fd);
}

static void echo_one(int fd)
{
    char c = 'x';
    if (write(fd, &c, 1) != 1 || read(fd, &c, 1) != 1 || c != 'x')
        fail("a byte's echo");
}

static void do_churn(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        int fd = connect_and_say("E", 1);
        echo_one(fd);
        close(fd);
    }
}

static void do_many(unsigned n)
{
    int fds[MANY_MAX];
    for (unsigned i = 0; i < n && i < MANY_MAX; i++)
        fds[i] = connect_and_say("E", 1);
    if (try_connect(PORT) >= 0)
        fail("one connection more than the device has was not refused");
    for (unsigned i = 0; i < n && i < MANY_MAX; i++)
        echo_one(fds[i]);
}

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static void do_ping(unsigned n)
{
    uint64_t longest = 0;
    int fd = connect_and_say("E", 1);
    for (unsigned i = 0; i < n; i++) {
        uint64_t start = now_us();
        echo_one(fd);
        uint64_t took = now_us() - start;
        longest = took > longest ? took : longest;
    }
    printf("longest %llu us\n", (unsigned long long)longest);
    close(fd);
}

// As BSD's sum counts: the order of bytes matters.
static void do_sum(unsigned n)
{
    unsigned sum = 0;
    for (unsigned char c; n > 0; n--) {
        if (read(STDIN_FILENO, &c, 1) != 1)
            fail("stdin");
        sum = ((sum >> 1) + ((sum & 1) << 15) + c) & 0xffff;
    }
    printf("sum %05u\n", sum);
}

static void do_refused(unsigned port)
{
    if (try_connect(port) >= 0)
        fail("a port where nobody listens");
    if (errno != ECONNRESET && errno != ECONNREFUSED)
        fail("the refusal");
}

static void do_half(unsigned n)
{
    (void)n;
    int fd = connect_and_say("H", 1);
    shutdown(fd, SHUT_WR);
    expect_ok(fd);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*job)(unsigned n);
    } jobs[] = {{"send", do_send}, {"recv", do_recv},       {"churn", do_churn}, {"many", do_many},
                {"ping", do_ping}, {"refused", do_refused}, {"half", do_half},   {"sum", do_sum}};
    for (size_t i = 0; argc == 3 && i < sizeof jobs / sizeof *jobs; i++)
        if (strcmp(argv[1], jobs[i].name) == 0) {
            const uint64_t start = now_us();
            jobs[i].job((unsigned)atoi(argv[2]));
            printf("%s %s ok, %llu us\n", argv[1], argv[2], (unsigned long long)(now_us() - start));
            return 0;
        }
    return 2;
}
