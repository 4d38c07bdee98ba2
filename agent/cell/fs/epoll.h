// epoll instances. Level triggered by asking each file; edge triggered by its count of changes.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct file;
struct epoll_event;

struct file *epoll_new(uint32_t flags); // NULL without memory
bool epoll_is(const struct file *file);
// op: EPOLL_CTL_*. event is the kernel's copy. 0, or -EEXIST, -ENOENT, -ELOOP, -ENOMEM, -EINVAL, -EPERM.
int epoll_control(struct file *epoll, int op, uint64_t fd, struct file *target,
                  const struct epoll_event *event);
// Fills at most max events; how many.
size_t epoll_collect(struct file *epoll, struct epoll_event *out, size_t max);
// A file goes away: every instance forgets it.
void epoll_forget(struct file *file);
