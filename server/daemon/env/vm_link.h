// The control socket of one envvm (proto/vmctl.h): its states, its guest's streams, its log's growth. Called
// by env.c; envvm is not trusted: anything malformed ends the link with a reason. One loop's thread; nothing
// blocks.
#pragma once

#include <event2/event.h>

#include "proto/vmctl.h"

struct vm_link;

// Any of these may free the link.
struct vm_link_cb {
    void (*on_state)(void *arg, enum vmctl_state state, enum vmctl_cause cause, int32_t code,
                     const char *reason);
    // The guest connected to host_port. fd is the callee's.
    void (*on_stream)(void *arg, uint32_t guest_port, uint32_t host_port, int fd);
    void (*on_log)(void *arg, uint64_t total);
    // The console that was asked for; fd is the callee's, -1: there is none to have.
    void (*on_console)(void *arg, int fd);
    // The answer to vm_link_stats().
    void (*on_stats)(void *arg, const struct vmctl_stats *stats);
    // The other end is gone (reason NULL) or misbehaved. Nothing more comes; the link is still to be freed.
    void (*on_end)(void *arg, const char *reason);
};

// Takes over fd on success. NULL: no memory.
struct vm_link *vm_link_new(struct event_base *base, int fd, const struct vm_link_cb *cb, void *arg);
void vm_link_free(struct vm_link *link); // accepts NULL
// Asks for the present STATE and LOG. 0 or -errno.
int vm_link_query(struct vm_link *link);
// Asks for the live console: on_console comes. 0 or -errno.
int vm_link_console(struct vm_link *link);
// The console's size. 0 or -errno.
int vm_link_resize(struct vm_link *link, uint16_t columns, uint16_t rows);
// The machine stands still, or goes on: on_state tells. 0 or -errno.
int vm_link_pause(struct vm_link *link);
int vm_link_resume(struct vm_link *link);
// Asks for figures: on_stats comes. 0 or -errno.
int vm_link_stats(struct vm_link *link);
// Ends the virtual machine. 0 or -errno.
int vm_link_quit(struct vm_link *link);
// Serves what has already arrived: for when another source says that the process is gone, and its last words
// count. Callbacks run, and may free the link: it must not be used afterwards.
void vm_link_drain(struct vm_link *link);
