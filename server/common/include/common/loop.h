// An event loop: epoll, one thread, level triggered. Of envvm (the I/O thread) and envagent; callbacks are
// short and never block. Linux only.
#pragma once

#include <stdint.h>

struct loop;
struct loop_source;

// events: EPOLLIN, EPOLLOUT, … that fired.
typedef void loop_cb(void *arg, uint32_t events);

struct loop *loop_new(void); // NULL: no memory or no descriptors, errno says which
void loop_free(struct loop *loop);
// Watches fd (which stays the caller's) for events. NULL with errno on failure.
struct loop_source *loop_add(struct loop *loop, int fd, uint32_t events, loop_cb *cb, void *arg);
// Changes the events; 0 pauses the source.
int loop_modify(struct loop_source *source, uint32_t events);
// Safe inside callbacks, its own included: the source is freed when the loop's round ends.
void loop_remove(struct loop_source *source);
// A one-shot timer at a monotonic time; created disarmed. Re-arm as often as wanted; 0 disarms.
struct loop_source *loop_add_timer(struct loop *loop, loop_cb *cb, void *arg);
void loop_timer_set(struct loop_source *timer, uint64_t monotonic_ns);
// Runs until loop_stop(). 0, or -errno when epoll itself fails.
int loop_run(struct loop *loop);
// From a callback.
void loop_stop(struct loop *loop);
// Holds all sources but those that are kept awake: their callbacks are not called, until they are released;
// what happened meanwhile is seen then. From a callback, or while the loop does not run.
void loop_hold(struct loop *loop);
void loop_release(struct loop *loop);
// A source that loop_hold() leaves alone.
void loop_keep_awake(struct loop_source *source);
