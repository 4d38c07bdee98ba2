// Open files and the descriptor table. A kind of file is a struct file_ops; its functions never block: they
// return -EAGAIN and say with poll() when it is worth trying again. Waiting is done here, once for all kinds.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FILES_MAX 1024 // descriptors

struct file;
struct node;

struct file_ops {
    // *pos is the position to read or write at; seekable kinds move it. NULL: -EBADF, or -EINVAL for sockets'
    // likes.
    int64_t (*read)(struct file *file, void *out, size_t n, uint64_t *pos);
    int64_t (*write)(struct file *file, const void *data, size_t n, uint64_t *pos);
    // POLLIN and so on as they are now. NULL: always readable and writable.
    uint32_t (*poll)(struct file *file);
    // NULL: -ENOTTY.
    int64_t (*ioctl)(struct file *file, uint64_t request, uint64_t argument);
    // The last reference went.
    void (*release)(struct file *file);
    uint32_t mode; // file type and permissions for fstat, where there is no node
    bool seekable;
    bool stream; // a write may be taken piece by piece
};

struct file {
    const struct file_ops *ops;
    uint32_t n_refs;
    uint32_t flags; // O_ACCMODE, O_NONBLOCK, O_APPEND, O_DIRECTORY, O_PATH
    uint64_t pos;
    uint32_t n_changes; // counts what may have changed poll(): for edge-triggered epoll
    struct node *node;  // with a reference; NULL for pipes and the like
    void *data;         // the kind's own
};

// A new file with one reference, or NULL without memory. node may be NULL; a reference to it is taken.
struct file *file_new(const struct file_ops *ops, uint32_t flags, struct node *node, void *data);
void file_ref(struct file *file);
void file_unref(struct file *file);
uint32_t file_poll(struct file *file);

// Blocking unless O_NONBLOCK. pos NULL: the file's own position.
int64_t file_read(struct file *file, void *out, size_t n, uint64_t *pos);
int64_t file_write(struct file *file, const void *data, size_t n, uint64_t *pos);

// Descriptors. The table starts with 0 (empty), 1 and 2 (the log).
struct file *files_get(uint64_t fd); // NULL: -EBADF; no reference is taken
// The lowest free descriptor from `from` on; takes over the caller's reference, on failure too. -EMFILE,
// -EINVAL.
int64_t files_install(struct file *file, uint64_t from, bool close_on_exec);
// Replaces fd (dup2); takes over the reference.
int64_t files_install_at(struct file *file, uint64_t fd, bool close_on_exec);
int64_t files_close(uint64_t fd);
int64_t files_close_on_exec(uint64_t fd, int set); // set < 0: only asks; the old value, or -EBADF
// The first open descriptor at or after fd; false when there is none.
bool files_next(uint64_t fd, uint64_t *ret_fd);
void files_close_all(void);
