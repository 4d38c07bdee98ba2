// cellrun's run, from its command line (cellrun_options.c) to the guest's end (cellrun.c).
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/vmctl.h"

#define STREAMS_MAX 32u

struct disk {
    const char *file, *overlay; // overlay NULL: none
};

struct run {
    const char *initrd;
    struct disk disks[VMCTL_DISKS_MAX];
    const char *envvm, *kernel, *program, *archive, *tap, *agent;
    struct vmctl_config config;
    char *orders; // what is left of them
    bool echo, verbose;
    int control, log;
    uint64_t shown; // bytes of the log already printed
    uint64_t started_ns;
    int streams[STREAMS_MAX];
    size_t n_streams;
    pid_t pid;
};

// Fills r; a wrong command line ends the program.
void parse_command_line(struct run *r, int argc, char **argv);
// What is on the guest's log and was not shown yet.
void show_log(struct run *r);
// Acts upon what envvm says. -1 while the guest runs, then its status.
int handle_control(struct run *r);
void echo(struct run *r, size_t i);
pid_t spawn_with_fd(const char *path, const char *name, int fd, int as);
