// An intrusive hash table: the node lives in the owner's struct, the owner compares keys. Used where many
// things are found by a key; hash keys that strangers choose with siphash(). No locks.
#pragma once

#include <stddef.h>
#include <stdint.h>

struct table_node {
    struct table_node *next;
    uint64_t hash;
};

struct table {
    struct table_node **slots;
    size_t n_slots; // a power of two
    size_t n_nodes;
};

// Room for about n nodes before it grows. 0 or -ENOMEM.
int table_init(struct table *t, size_t n);
// Frees the table, not the nodes.
void table_done(struct table *t);
// Never fails: when there is no memory to grow, chains become longer. Nodes of one hash are found newest
// first, as long as the table has not grown.
void table_insert(struct table *t, struct table_node *node, uint64_t hash);
// The node must be in t.
void table_remove(struct table *t, struct table_node *node);
// The first and the next node of that very hash, or NULL. Compare the key: hashes can collide.
struct table_node *table_first(const struct table *t, uint64_t hash);
struct table_node *table_next(const struct table_node *node);
// Any node, or NULL when the table is empty: to take all of them out one by one.
struct table_node *table_any(const struct table *t);

#define table_entry(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))
