// Measures how long it takes from the order to start a program to its first output, once per line, in
// nanoseconds.
//   bench_start envd SOCKET TENANT NAME N    of a stopped environment: from the API call to the first byte of
//   its log, as
//                                            a client sees it that follows the log; the program must end by
//                                            itself
//   bench_start exec N PROGRAM ARGUMENT...   of a command: from fork to the first byte of its output; an
//   argument "@" is
//                                            replaced by a name that is new each time
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api.h"
#include "common/io.h"

extern char **environ;

#define WAIT_TRIES 20000

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "bench_start: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void expect_status(int status, int wanted, const char *what, const char *body)
{
    if (status == wanted)
        return;
    fprintf(stderr, "bench_start: %s: status %d: %s\n", what, status, body);
    exit(1);
}

// Until the environment's program has ended: the next start must find it stopped.
static void wait_until_stopped(struct api_conn *c, const char *path)
{
    const char *body;
    for (int i = 0; i < WAIT_TRIES; i++) {
        api_send(c, "GET", path);
        int status = api_reply(c, &body); // first: arguments are evaluated in any order
        expect_status(status, 200, path, body);
        if (strstr(body, "\"state\":\"stopped\"") || strstr(body, "\"state\": \"stopped\""))
            return;
        if (strstr(body, "\"failed\"")) {
            fprintf(stderr, "bench_start: the environment failed: %s\n", body);
            exit(1);
        }
        usleep(1000);
    }
    fprintf(stderr, "bench_start: %s does not stop\n", path);
    exit(1);
}

static uint64_t measure_environment(struct api_conn *c, const char *socket_path, const char *path)
{
    static struct api_conn log;
    const char *body;
    char url[512];
    api_open(&log, socket_path);
    snprintf(url, sizeof url, "%s/logs?follow=true&tail=0", path);
    api_send(&log, "GET", url);
    expect_status(api_reply_head(&log), 200, url, "");
    snprintf(url, sizeof url, "%s/start", path);
    uint64_t start = io_monotonic_ns();
    api_send(c, "POST", url);
    if (!api_wait_byte(&log))
        die("log");
    uint64_t ns = io_monotonic_ns() - start;
    int status = api_reply(c, &body);
    expect_status(status, 202, url, body);
    api_close(&log);
    return ns;
}

static int measure_envd(char **argv)
{
    static struct api_conn c;
    char path[300];
    snprintf(path, sizeof path, "/v1/tenants/%s/environments/%s", argv[1], argv[2]);
    api_open(&c, argv[0]);
    for (long n = strtol(argv[3], NULL, 10); n > 0; n--) {
        printf("%llu\n", (unsigned long long)measure_environment(&c, argv[0], path));
        wait_until_stopped(&c, path);
    }
    api_close(&c);
    return 0;
}

static uint64_t measure_command(char **argv)
{
    int out[2], status;
    char byte;
    pid_t pid;
    posix_spawn_file_actions_t actions;
    if (pipe2(out, O_CLOEXEC) < 0 || posix_spawn_file_actions_init(&actions) != 0 ||
        posix_spawn_file_actions_adddup2(&actions, out[1], 1) != 0)
        die("pipe");
    uint64_t start = io_monotonic_ns();
    errno = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
    if (errno != 0)
        die(argv[0]);
    close(out[1]);
    if (read(out[0], &byte, 1) != 1) {
        fprintf(stderr, "bench_start: %s printed nothing\n", argv[0]);
        exit(1);
    }
    uint64_t ns = io_monotonic_ns() - start;
    while (read(out[0], &byte, 1) > 0)
        continue;
    close(out[0]);
    if (waitpid(pid, &status, 0) != pid || status != 0) {
        fprintf(stderr, "bench_start: %s ended with status %#x\n", argv[0], (unsigned)status);
        exit(1);
    }
    posix_spawn_file_actions_destroy(&actions);
    return ns;
}

static int measure_exec(int argc, char **argv)
{
    char name[64];
    char **args =
        calloc((size_t)argc, sizeof(char *)); // NOLINT(bugprone-sizeof-expression): an array of pointers
    if (!args)
        die("arguments");
    for (long n = strtol(argv[0], NULL, 10); n > 0; n--) {
        snprintf(name, sizeof name, "bench-%d-%ld", (int)getpid(), n);
        for (int i = 1; i < argc; i++)
            args[i - 1] = strcmp(argv[i], "@") == 0 ? name : argv[i];
        printf("%llu\n", (unsigned long long)measure_command(args));
    }
    free(args);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 6 && strcmp(argv[1], "envd") == 0)
        return measure_envd(argv + 2);
    if (argc > 3 && strcmp(argv[1], "exec") == 0)
        return measure_exec(argc - 2, argv + 2);
    fprintf(stderr,
            "usage: bench_start envd SOCKET TENANT NAME N | bench_start exec N PROGRAM ARGUMENT...\n");
    return 2;
}
