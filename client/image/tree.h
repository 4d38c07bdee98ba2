// A tree of files in memory: what will be an image's root file system. Filled by the readers of archives and
// folders (layer.h), written by ext4.h. No file of the host is touched here: paths are names in this tree,
// and symbolic links lead nowhere else.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"
#include "image/spool.h"

#define TREE_NAME_MAX  255
#define TREE_PATH_MAX  4095
#define TREE_DEPTH_MAX 512

struct tree_xattr {
    struct tree_xattr *next;
    char *name;
    size_t len;
    unsigned char value[];
};

struct tree_node;

// What hard links share.
struct tree_inode {
    mode_t mode; // with its type
    uint32_t uid, gid;
    int64_t mtime_s;
    uint32_t mtime_ns;
    uint32_t major, minor;      // devices
    uint32_t n_links;           // names
    struct spool_range content; // regular files
    char *target;               // symbolic links
    struct tree_xattr *xattrs;  // sorted by name
    void *children;             // folders: of struct tree_node, a tsearch() tree by name
    uint32_t n_children;        // folders
    uint32_t number;            // the writer's
    bool written;               // the writer's
};

struct tree_node {
    char *name;
    struct tree_inode *inode;
    uint32_t layer; // the last that had this path, or one below it
};

struct tree {
    struct tree_inode *root;
    uint32_t layer; // being read
    uint64_t n_nodes, max_nodes;
};

int tree_open(struct tree *t, uint64_t max_nodes, struct err *err);
void tree_close(struct tree *t);

// Puts inode (taken in any case) at untrusted_path: leading slashes and "." are nothing, ".." is refused;
// symbolic links on the way are followed inside the tree; missing folders are made. A folder keeps what is in
// a folder that is there; everything else replaces what is there. A path of nothing is the root, a folder.
int tree_put(struct tree *t, const char *untrusted_path, struct tree_inode *inode, struct err *err);
// Makes untrusted_path another name of the file at untrusted_target, which must be there and be no folder.
int tree_link(struct tree *t, const char *untrusted_path, const char *untrusted_target, struct err *err);
// Hides what earlier layers have at the path: all of it, or (children_only) what is in the folder.
int tree_hide(struct tree *t, const char *untrusted_path, bool children_only, struct err *err);
// The inode at path, symbolic links followed (also the last, when follow_last); NULL: there is none.
struct tree_inode *tree_find(const struct tree *t, const char *untrusted_path, bool follow_last);
// The children in the order of their names.
void tree_each(const struct tree_inode *folder, void (*visit)(const struct tree_node *node, void *arg),
               void *arg);
const struct tree_node *tree_child(const struct tree_inode *folder, const char *name);

struct tree_inode *tree_inode_new(mode_t mode); // one reference; NULL: no memory
void tree_inode_free(struct tree_inode *inode); // one that is in no tree; accepts NULL
// Whether a file system image keeps this attribute: user, security and trusted ones, and ACLs.
bool tree_xattr_wanted(const char *name);
// Adds it, or gives it another value. -E2BIG: more than a file system's inode has room for.
int tree_add_xattr(struct tree_inode *inode, const char *name, const void *value, size_t len,
                   struct err *err);
