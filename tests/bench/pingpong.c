// Measures a ping-pong over a Unix socket pair between two processes: bench_pingpong WARM-UP N BYTES. One
// number a line, nanoseconds there and back: what two programs of one machine can reach without anybody
// between them.
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/io.h"

#define N_MAX     100000
#define BYTES_MAX 65536

static unsigned long long ns[N_MAX];
static char data[BYTES_MAX];

static int read_whole(int fd, size_t len)
{
    for (size_t have = 0; have < len;) {
        ssize_t n = read(fd, data + have, len - have);
        if (n <= 0)
            return -1;
        have += (size_t)n;
    }
    return 0;
}

static void answer(int fd, size_t len)
{
    while (read_whole(fd, len) == 0 && io_write_all(fd, data, len) == 0)
        continue;
}

int main(int argc, char **argv)
{
    unsigned long warm_up = argc == 4 ? strtoul(argv[1], NULL, 10) : 0;
    unsigned long n = argc == 4 ? strtoul(argv[2], NULL, 10) : 0,
                  len = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
    int pair[2];
    if (n == 0 || n > N_MAX || len == 0 || len > BYTES_MAX) {
        fprintf(stderr, "usage: bench_pingpong WARM-UP N BYTES\n");
        return 2;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        return 1;
    pid_t pid = fork();
    if (pid == 0) {
        close(pair[0]);
        answer(pair[1], len);
        _exit(0);
    }
    close(pair[1]);
    for (unsigned long i = 0; i < warm_up + n; i++) {
        uint64_t start = io_monotonic_ns();
        if (pid < 0 || io_write_all(pair[0], data, len) < 0 || read_whole(pair[0], len) < 0)
            return 1;
        ns[i < warm_up ? 0 : i - warm_up] = io_monotonic_ns() - start;
    }
    close(pair[0]);
    waitpid(pid, NULL, 0);
    for (unsigned long i = 0; i < n; i++)
        printf("%llu\n", ns[i]);
    return 0;
}
