// The name space: one tree of nodes. The archive's files are read-only; below /tmp, /run and /dev/shm nodes
// can be made, changed and removed, in memory. The tree is built at the first look-up, for many programs
// never look. Called by the path system calls; knows no descriptors.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum node_kind { NODE_DIRECTORY, NODE_FILE, NODE_SYMLINK, NODE_DEVICE, NODE_SOCKET };
enum node_device {
    DEVICE_NULL,
    DEVICE_ZERO,
    DEVICE_FULL,
    DEVICE_RANDOM,
    DEVICE_STDIN,
    DEVICE_STDOUT,
    DEVICE_STDERR,
    DEVICE_TTY
};

#define TREE_NAME_MAX 255
#define TREE_PATH_MAX 4096

struct node {
    struct node *parent;          // NULL when removed; the root is its own
    struct node *first, *last;    // children of a directory, oldest first
    struct node *previous, *next; // siblings
    struct node *hash_next;
    const char *name; // not NUL terminated
    uint32_t name_hash;
    uint16_t name_len, permissions; // permissions: the low 12 bits of a mode
    uint8_t kind;                   // enum node_kind
    uint8_t device;                 // enum node_device
    bool writable;                  // this node's contents, or this directory's list, can change
    bool owns_name;                 // name is the heap's
    uint32_t n_refs;                // open files and the working directory
    uint64_t ino, place;            // place: position in its directory, never used again there
    uint64_t next_place;            // of a directory
    uint64_t mtime_ns, size_bytes;
    const uint8_t *data; // archive bytes, or a symbolic link's target; NULL for files in memory
    uint8_t **blocks;    // files in memory: PAGE each, NULL = hole (fs/content.c)
    size_t n_blocks;
};

// archive NULL or 0 bytes: none. Cheap: nothing is read yet.
void tree_init(const void *archive, size_t len);
// What was wrong with the archive, or NULL. Entries before the damage are there.
const char *tree_archive_error(void);

#define TREE_NO_FOLLOW 1u // a symbolic link as the last component is the result
// Finds path, from base when relative. 0 and *ret (no reference taken), or -ENOENT, -ENOTDIR, -ELOOP,
// -ENAMETOOLONG, -ENOMEM. len excludes the NUL.
int tree_find(struct node *base, const char *path, size_t len, unsigned flags, struct node **ret);
// Finds the directory that holds (or would hold) path's last component, and that component. -EEXIST for a
// path without one ("/", "a/.."). *ret_slash: the path ended with a slash.
int tree_find_parent(struct node *base, const char *path, size_t len, struct node **ret_directory,
                     const char **ret_name, size_t *ret_name_len, bool *ret_slash);
struct node *tree_root(void);
struct node *tree_child(const struct node *directory, const char *name, size_t len);

// Changes. -EROFS where nothing can change. `name` is copied.
int tree_create(struct node *directory, const char *name, size_t len, enum node_kind kind,
                unsigned permissions, struct node **ret);
// -ENOTEMPTY for a directory with children. The node lives on until its last reference goes.
int tree_remove(struct node *node);
int tree_rename(struct node *node, struct node *directory, const char *name, size_t len);
int tree_set_target(struct node *link, const char *target, size_t len);

void node_ref(struct node *node);
void node_unref(struct node *node); // NULL is fine
// The absolute path of a directory, NUL terminated. Its length with the NUL, -ERANGE, or -ENOENT when
// removed.
int64_t tree_path(const struct node *node, char *out, size_t cap);
