// See tree.h: nodes, their hash table, changes. Path walking is in fs/walk.c, the first build in fs/build.c.
#include "fs/tree.h"

#include <linux/errno.h>

#include "base/string.h"
#include "fs/content.h"
#include "fs/tree_private.h"
#include "mem/heap.h"

#define BUCKETS_FIRST 64

static struct {
    struct node *root;
    struct node **buckets; // by parent and name; a power of two
    size_t n_buckets, n_nodes;
    uint64_t next_ino;
} tree;

static uint32_t hash_of(const struct node *directory, const char *name, size_t len)
{
    uint64_t h = (uintptr_t)directory >> 4;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (uint8_t)name[i]) * 0x100000001b3ull; // FNV-1a
    return (uint32_t)(h ^ h >> 32);
}

static void hash_insert(struct node *node)
{
    struct node **bucket = &tree.buckets[node->name_hash & (tree.n_buckets - 1)];
    node->hash_next = *bucket;
    *bucket = node;
}

static void hash_remove(struct node *node)
{
    struct node **link = &tree.buckets[node->name_hash & (tree.n_buckets - 1)];
    while (*link != node)
        link = &(*link)->hash_next;
    *link = node->hash_next;
}

// Doubles the table when it is full; a failure only makes look-ups slower.
static void hash_grow(void)
{
    size_t old_count = tree.n_buckets;
    struct node **old = tree.buckets;
    struct node **fresh = heap_alloc_zeroed(2 * old_count * sizeof(struct node *));
    if (!fresh)
        return;
    tree.buckets = fresh;
    tree.n_buckets = 2 * old_count;
    for (size_t i = 0; i < old_count; i++)
        for (struct node *n = old[i], *next; n; n = next) {
            next = n->hash_next;
            hash_insert(n);
        }
    heap_free(old);
}

static void link_child(struct node *directory, struct node *node)
{
    node->parent = directory;
    node->previous = directory->last;
    node->next = NULL;
    if (directory->last)
        directory->last->next = node;
    else
        directory->first = node;
    directory->last = node;
    node->place = ++directory->next_place;
    node->name_hash = hash_of(directory, node->name, node->name_len);
    if (tree.n_nodes >= tree.n_buckets)
        hash_grow();
    hash_insert(node);
    tree.n_nodes++;
}

static void unlink_child(struct node *node)
{
    struct node *directory = node->parent;
    hash_remove(node);
    *(node->previous ? &node->previous->next : &directory->first) = node->next;
    *(node->next ? &node->next->previous : &directory->last) = node->previous;
    node->parent = NULL;
    tree.n_nodes--;
}

int tree_prepare(void)
{
    if (tree.root)
        return 0;
    tree.buckets = heap_alloc_zeroed(BUCKETS_FIRST * sizeof(struct node *));
    struct node *root = heap_alloc_zeroed(sizeof *root);
    if (!tree.buckets || !root) {
        heap_free(tree.buckets);
        heap_free(root);
        return -ENOMEM;
    }
    tree.n_buckets = BUCKETS_FIRST;
    root->kind = NODE_DIRECTORY;
    root->permissions = 0755;
    root->parent = root;
    root->name = "";
    root->ino = ++tree.next_ino;
    root->n_refs = 1;
    tree.root = root;
    tree_build();
    return 0;
}

struct node *tree_root(void)
{
    return tree_prepare() < 0 ? NULL : tree.root;
}

struct node *tree_child(const struct node *directory, const char *name, size_t len)
{
    uint32_t hash = hash_of(directory, name, len);
    for (struct node *n = tree.buckets[hash & (tree.n_buckets - 1)]; n; n = n->hash_next)
        if (n->name_hash == hash && n->parent == directory && n->name_len == len &&
            !memcmp(n->name, name, len))
            return n;
    return NULL;
}

// name stays the caller's and must outlive the node.
struct node *tree_add(struct node *directory, const char *name, size_t len, enum node_kind kind,
                      unsigned permissions)
{
    struct node *node = heap_alloc_zeroed(sizeof *node);
    if (!node)
        return NULL;
    node->name = name;
    node->name_len = (uint16_t)len;
    node->kind = (uint8_t)kind;
    node->permissions = permissions & 07777;
    node->writable = directory->writable;
    node->ino = ++tree.next_ino;
    link_child(directory, node);
    return node;
}

static char *copy_name(const char *name, size_t len)
{
    char *copy = heap_alloc(len);
    if (copy)
        memcpy(copy, name, len);
    return copy;
}

int tree_create(struct node *directory, const char *name, size_t len, enum node_kind kind,
                unsigned permissions, struct node **ret)
{
    if (!directory->writable)
        return -EROFS;
    if (!directory->parent)
        return -ENOENT; // removed while somebody works in it
    char *copy = copy_name(name, len);
    struct node *node = copy ? tree_add(directory, copy, len, kind, permissions) : NULL;
    if (!node) {
        heap_free(copy);
        return -ENOSPC;
    }
    node->owns_name = true;
    *ret = node;
    return 0;
}

static void free_node(struct node *node)
{
    if (node->kind == NODE_SYMLINK)
        heap_free(node->owns_name ? (void *)(uintptr_t)node->data : NULL);
    else
        content_free(node);
    if (node->owns_name)
        heap_free((void *)(uintptr_t)node->name);
    heap_free(node);
}

int tree_remove(struct node *node)
{
    if (node->parent == node || !node->parent)
        return -EBUSY;
    if (!node->parent->writable)
        return -EROFS;
    if (node->first)
        return -ENOTEMPTY;
    unlink_child(node);
    if (!node->n_refs)
        free_node(node);
    return 0;
}

int tree_rename(struct node *node, struct node *directory, const char *name, size_t len)
{
    if (node->parent == node)
        return -EBUSY;
    if (!node->parent->writable || !directory->writable)
        return -EROFS;
    for (struct node *up = directory; up->parent != up; up = up->parent)
        if (up == node || !up->parent)
            return -EINVAL; // into itself
    // A link's owned target goes by owns_name too: a link of the archive keeps its name.
    if (node->kind == NODE_SYMLINK && !node->owns_name)
        return -EROFS;
    char *copy = copy_name(name, len);
    if (!copy)
        return -ENOSPC;
    unlink_child(node);
    if (node->owns_name)
        heap_free((void *)(uintptr_t)node->name);
    node->name = copy;
    node->name_len = (uint16_t)len;
    node->owns_name = true;
    link_child(directory, node);
    return 0;
}

int tree_set_target(struct node *link, const char *target, size_t len)
{
    uint8_t *copy = heap_alloc(len);
    if (!copy)
        return -ENOSPC;
    memcpy(copy, target, len);
    link->data = copy;
    link->size_bytes = len;
    return 0;
}

void node_ref(struct node *node)
{
    node->n_refs++;
}

void node_unref(struct node *node)
{
    if (node && !--node->n_refs && !node->parent)
        free_node(node);
}

int64_t tree_path(const struct node *node, char *out, size_t cap)
{
    size_t at = cap;
    if (!cap)
        return -ERANGE;
    out[--at] = 0;
    for (const struct node *n = node; n->parent != n; n = n->parent) {
        if (!n->parent)
            return -ENOENT;
        if (at < n->name_len + 1u)
            return -ERANGE;
        at -= n->name_len;
        memcpy(out + at, n->name, n->name_len);
        out[--at] = '/';
    }
    if (at == cap - 1) {
        if (!at)
            return -ERANGE;
        out[--at] = '/';
    }
    memmove(out, out + at, cap - at);
    return (int64_t)(cap - at);
}
