// The stop-watch of virtual machine monitors: starts one, with a Linux guest, and prints what it reached
// when, in nanoseconds since its start, and what memory it holds beside the guest's, in KiB:
//   bench_vm [--vsock PORT | --no-agent] [--memory MIB] [--pause MS] -- COMMAND ARGUMENT…
//     userspace NS     "guest: userspace" is in its output (the first words of the guest's PID 1)
//     ready NS         the guest's agent said its first frame: over the host's vsock (--vsock, vhost-vsock),
//     or
//                      the command says "agenthost: hello" in its output; not for guests without (--no-agent)
//     rss KIB, pss KIB then, after a pause: the monitor's, without the mapping that is the guest's memory
// The monitor is the command, or its first child where it has one. Both are killed in the end. Exit status 1:
// the machine ended before it was ready, or was not within a minute.
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "common/io.h"

#define LIMIT_NS   (60ull * 1000000000u)
#define OUTPUT_MAX (1u << 20)

extern char **environ;

struct watch {
    int out, listener, agent;
    bool no_agent;
    pid_t pid;
    uint64_t start_ns, userspace_ns, ready_ns;
    size_t len;
    char output[OUTPUT_MAX];
};

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "bench_vm: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int listen_vsock(unsigned port)
{
    const struct sockaddr_vm a = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port};
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 1) < 0)
        die("listen on vsock");
    return fd;
}

static void start(struct watch *w, char **argv)
{
    int out[2];
    posix_spawn_file_actions_t actions;
    if (pipe2(out, O_CLOEXEC) < 0 || posix_spawn_file_actions_init(&actions) != 0 ||
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0) != 0 ||
        posix_spawn_file_actions_adddup2(&actions, out[1], 1) != 0 ||
        posix_spawn_file_actions_adddup2(&actions, out[1], 2) != 0)
        die("pipe");
    w->start_ns = io_monotonic_ns();
    errno = posix_spawnp(&w->pid, argv[0], &actions, NULL, argv, environ);
    if (errno != 0)
        die(argv[0]);
    posix_spawn_file_actions_destroy(&actions);
    close(out[1]);
    w->out = out[0];
}

// 0 when there may be more.
static int read_output(struct watch *w)
{
    ssize_t n = read(w->out, w->output + w->len, sizeof w->output - 1 - w->len);
    if (n <= 0)
        return -1;
    const uint64_t ns = io_monotonic_ns() - w->start_ns;
    w->len += (size_t)n;
    if (w->userspace_ns == 0 && strstr(w->output, "guest: userspace"))
        w->userspace_ns = ns;
    if (w->ready_ns == 0 && strstr(w->output, "agenthost: hello"))
        w->ready_ns = ns;
    return 0;
}

static void read_agent(struct watch *w)
{
    char byte;
    if (w->agent < 0)
        w->agent = accept4(w->listener, NULL, NULL, SOCK_CLOEXEC);
    else if (read(w->agent, &byte, 1) == 1)
        w->ready_ns = io_monotonic_ns() - w->start_ns;
    else
        die("the agent's stream");
}

static bool wait_until_ready(struct watch *w)
{
    while (w->userspace_ns == 0 || (w->ready_ns == 0 && !w->no_agent)) {
        struct pollfd p[] = {{.fd = w->out, .events = POLLIN},
                             {.fd = w->agent >= 0 ? w->agent : w->listener, .events = POLLIN}};
        const uint64_t ns = io_monotonic_ns() - w->start_ns;
        if (ns > LIMIT_NS || poll(p, w->ready_ns == 0 ? 2 : 1, (int)((LIMIT_NS - ns) / 1000000 + 1)) < 0)
            return false;
        if (p[0].revents && read_output(w) < 0)
            return false;
        if (w->ready_ns == 0 && p[1].revents)
            read_agent(w);
    }
    return true;
}

static pid_t child_of(pid_t pid)
{
    char path[64], text[256] = "";
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
    return io_read_file(path, text, sizeof text - 1) > 0 ? (pid_t)atoi(text) : 0;
}

// The guest's memory is the largest mapping.
static void show_memory(pid_t pid, unsigned long memory_kib)
{
    char path[64], line[512];
    unsigned long low, high, kib, rss = 0, pss = 0, size = 0, guest_size = 0, of[2] = {0}, guest[2] = {0};
    snprintf(path, sizeof path, "/proc/%d/smaps", (int)pid);
    FILE *f = fopen(path, "re");
    if (!f)
        die(path);
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "%lx-%lx ", &low, &high) == 2)
            size = (high - low) / 1024;
        if (sscanf(line, "Rss: %lu", &kib) == 1)
            rss += of[0] = kib;
        if (sscanf(line, "Pss: %lu", &kib) != 1)
            continue;
        pss += of[1] = kib;
        if (size > guest_size) {
            guest_size = size;
            memcpy(guest, of, sizeof guest);
        }
    }
    fclose(f);
    if (guest_size < memory_kib) {
        fprintf(stderr, "bench_vm: no mapping of process %d is large enough for the guest's memory\n",
                (int)pid);
        exit(1);
    }
    printf("rss %lu\npss %lu\n", rss - guest[0], pss - guest[1]);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"vsock", 1, NULL, 'v'},
                                            {"no-agent", 0, NULL, 'n'},
                                            {"memory", 1, NULL, 'm'},
                                            {"pause", 1, NULL, 'p'},
                                            {NULL, 0, NULL, 0}};
    static struct watch w = {.listener = -1, .agent = -1};
    unsigned long memory_mib = 1, pause_ms = 500;
    for (int opt; (opt = getopt_long(argc, argv, "+", options, NULL)) != -1;) {
        if (opt == 'v')
            w.listener = listen_vsock((unsigned)strtoul(optarg, NULL, 10));
        else if (opt == 'n')
            w.no_agent = true;
        else if (opt == 'm')
            memory_mib = strtoul(optarg, NULL, 10);
        else if (opt == 'p')
            pause_ms = strtoul(optarg, NULL, 10);
        else
            return 2;
    }
    if (optind >= argc)
        return 2;
    start(&w, argv + optind);
    const bool ready = wait_until_ready(&w);
    const pid_t child = child_of(w.pid);
    if (ready) {
        printf("userspace %llu\n", (unsigned long long)w.userspace_ns);
        if (!w.no_agent)
            printf("ready %llu\n", (unsigned long long)w.ready_ns);
        usleep((useconds_t)pause_ms * 1000);
        show_memory(child > 0 ? child : w.pid, memory_mib * 1024);
    } else {
        fprintf(stderr, "bench_vm: not ready; output:\n%s\n", w.output);
    }
    if (child > 0)
        kill(child, SIGKILL);
    kill(w.pid, SIGKILL);
    waitpid(w.pid, NULL, 0);
    return ready ? 0 : 1;
}
