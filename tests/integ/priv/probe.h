// What the jail probe (a static program in envvm's place) and the stories say to each other on the control
// socket. The probe waits for CONFIG, then answers one datagram to each that it gets; the first byte says
// which.
#pragma once

#define PROBE_REPORT    'r' // struct probe_report
#define PROBE_FRAME     'f' // then an Ethernet frame: written to the tap. Answer: i32 0 or -errno
#define PROBE_RECEIVE   'g' // answer: the next frame from the tap, at most PROBE_WAIT_MS away, or one byte 0
#define PROBE_FILL_LOG  'l' // writes to the log to beyond its end. Answer: i32 -errno of the write that failed
#define PROBE_EXIT      'x' // then a byte: the exit status. No answer
#define PROBE_WAIT_MS   1000
#define PROBE_FDS_MAX   512 // how far it looks for open descriptors
#define PROBE_CAPS_MAX  64
#define PROBE_FRAME_MAX 2048

#include <stdint.h>

struct probe_report {
    uint32_t uid, euid, gid, egid;
    int32_t n_groups;
    int32_t pid, parent, session;
    uint64_t caps_effective, caps_permitted, caps_inheritable, caps_bounding, caps_ambient;
    int32_t no_new_privs, death_signal, dumpable;
    int32_t n_root_entries; // of "/", without . and ..
    int32_t make_in_root;   // -errno of making a file there
    int32_t open_proc;      // -errno of opening /proc
    int32_t up_and_out;     // -errno of opening "../../etc" from the working folder
    uint32_t n_interfaces;
    uint32_t n_fds; // open, with those that came with CONFIG
    uint32_t n_config_fds;
    uint32_t config_len;
    char config[64]; // its first bytes
    uint64_t limit_files, limit_file_bytes, limit_processes, limit_core, limit_locked;
    uint32_t file_mask;
    uint32_t n_blocked_signals;
    char host_name[65];
    char title[128];
    char stdio[3]; // 1 for each of 0..2 that is /dev/null
    char has_environment;
    char has_statm; // descriptor 4 can be read, /proc or none
};
