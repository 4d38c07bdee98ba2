// Owns the tree of files: paths, replacement, hard links, whiteouts. Called by layer.c, folder.c and oci.c;
// the paths and links that it gets are an archive's, not to be trusted.
#include "image/tree.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/checked.h"

#define LINKS_MAX     40 // symbolic links on one way, as in Linux
#define HARDLINKS_MAX 65000
#define XATTRS_MAX    4000 // bytes of names and values: one block of the file system

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct tree_node *)a)->name, ((const struct tree_node *)b)->name);
}

struct tree_inode *tree_inode_new(mode_t mode)
{
    struct tree_inode *inode = calloc(1, sizeof *inode);
    if (inode) {
        inode->mode = mode;
        inode->n_links = 1;
    }
    return inode;
}

static void node_free(void *node);

void tree_inode_free(struct tree_inode *inode)
{
    if (!inode || --inode->n_links > 0)
        return;
    tdestroy(inode->children, node_free);
    while (inode->xattrs) {
        struct tree_xattr *x = inode->xattrs;
        inode->xattrs = x->next;
        free(x->name);
        free(x);
    }
    free(inode->target);
    free(inode);
}

static void node_free(void *arg)
{
    struct tree_node *node = arg;
    tree_inode_free(node->inode);
    free(node->name);
    free(node);
}

bool tree_xattr_wanted(const char *name)
{
    static const char *const wanted[] = {"user.", "security.", "trusted.", "system.posix_acl_"};
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        if (strncmp(name, wanted[i], strlen(wanted[i])) == 0)
            return strlen(name) > strlen(wanted[i]) && strlen(name) <= TREE_NAME_MAX;
    return false;
}

int tree_add_xattr(struct tree_inode *inode, const char *name, const void *value, size_t len, struct err *err)
{
    size_t total = strlen(name) + len;
    struct tree_xattr **at = &inode->xattrs;
    for (const struct tree_xattr *x = inode->xattrs; x; x = x->next)
        total += strlen(x->name) + x->len;
    if (total > XATTRS_MAX)
        return err_set(err, -E2BIG, "its extended attributes have more than %d bytes", XATTRS_MAX);
    while (*at && strcmp((*at)->name, name) < 0)
        at = &(*at)->next;
    if (*at && strcmp((*at)->name, name) == 0) { // tar may have it twice, in two spellings
        struct tree_xattr *old = *at;
        *at = old->next;
        free(old->name);
        free(old);
    }
    struct tree_xattr *x = malloc(sizeof *x + len);
    char *copy = strdup(name);
    if (!x || !copy) {
        free(x);
        free(copy);
        return err_set(err, -ENOMEM, "no memory for an extended attribute");
    }
    *x = (struct tree_xattr){.next = *at, .name = copy, .len = len};
    if (len > 0)
        memcpy(x->value, value, len);
    *at = x;
    return 0;
}

int tree_open(struct tree *t, uint64_t max_nodes, struct err *err)
{
    *t = (struct tree){.root = tree_inode_new(S_IFDIR | 0755), .max_nodes = max_nodes};
    return t->root ? 0 : err_set(err, -ENOMEM, "no memory for a tree of files");
}

void tree_close(struct tree *t)
{
    tree_inode_free(t->root);
    t->root = NULL;
}

// --- looking up ---

static struct tree_node *child_of(const struct tree_inode *folder, const char *name)
{
    struct tree_node key = {.name = (char *)name};
    void *found = tfind(&key, &folder->children, by_name);
    return found ? *(struct tree_node **)found : NULL;
}

const struct tree_node *tree_child(const struct tree_inode *folder, const char *name)
{
    return S_ISDIR(folder->mode) ? child_of(folder, name) : NULL;
}

struct visit {
    void (*visit)(const struct tree_node *node, void *arg);
    void *arg;
};

static void on_visit(const void *nodep, VISIT which, void *closure)
{
    const struct visit *v = closure;
    if (which == postorder || which == leaf)
        v->visit(*(const struct tree_node *const *)nodep, v->arg);
}

void tree_each(const struct tree_inode *folder, void (*visit)(const struct tree_node *node, void *arg),
               void *arg)
{
    struct visit v = {visit, arg};
    twalk_r(folder->children, on_visit, &v);
}

// A way through the tree: the folders from the root to where it is.
struct way {
    struct tree *tree;
    bool make; // missing folders, and mark what it passes as this layer's
    unsigned n_links;
    unsigned depth;
    struct tree_inode *folders[TREE_DEPTH_MAX + 1];
};

static struct tree_inode *here(const struct way *w)
{
    return w->folders[w->depth];
}

static int add_node(struct tree *t, struct tree_inode *folder, const char *name, struct tree_inode *inode,
                    struct err *err)
{
    if (t->n_nodes >= t->max_nodes) {
        tree_inode_free(inode);
        return err_set(err, -EFBIG, "there are more than %llu files (see --max-files)",
                       (unsigned long long)t->max_nodes);
    }
    struct tree_node *node = calloc(1, sizeof *node);
    char *copy = strdup(name);
    if (node && copy) {
        *node = (struct tree_node){.name = copy, .inode = inode, .layer = t->layer};
        if (tsearch(node, &folder->children, by_name)) {
            folder->n_children++;
            t->n_nodes++;
            return 0;
        }
    }
    free(copy);
    free(node);
    tree_inode_free(inode);
    return err_set(err, -ENOMEM, "no memory for a tree of files");
}

static uint64_t count_nodes(const struct tree_inode *inode);

static void count_child(const struct tree_node *node, void *arg)
{
    *(uint64_t *)arg += 1 + count_nodes(node->inode);
}

static uint64_t count_nodes(const struct tree_inode *inode)
{
    uint64_t n = 0;
    if (inode->children)
        tree_each(inode, count_child, &n);
    return n;
}

static void remove_node(struct tree *t, struct tree_inode *folder, struct tree_node *node)
{
    t->n_nodes -= 1 + count_nodes(node->inode);
    tdelete(node, &folder->children, by_name);
    folder->n_children--;
    node_free(node);
}

static int walk(struct way *w, const char *path, size_t len, bool inside_link, struct err *err);

static int follow(struct way *w, const char *target, struct err *err)
{
    if (++w->n_links > LINKS_MAX)
        return err_set(err, -ELOOP, "too many symbolic links on the way");
    if (target[0] == '/')
        w->depth = 0; // absolute in the image
    return walk(w, target, strlen(target), true, err);
}

static int enter(struct way *w, const char *name, struct err *err)
{
    struct tree_node *node = child_of(here(w), name);
    if (!node && w->make) {
        struct tree_inode *made = tree_inode_new(S_IFDIR | 0755);
        if (!made)
            return err_set(err, -ENOMEM, "no memory for a tree of files");
        int rc = w->depth >= TREE_DEPTH_MAX ? -ENAMETOOLONG : 0;
        if (rc == 0)
            rc = add_node(w->tree, here(w), name, made, err);
        else
            tree_inode_free(made);
        if (rc < 0)
            return rc == -ENAMETOOLONG ? err_set(err, rc, "folders are nested too deeply") : rc;
        node = child_of(here(w), name);
    }
    if (!node)
        return -ENOENT; // only looking: nobody reads why
    if (S_ISLNK(node->inode->mode))
        return follow(w, node->inode->target, err);
    if (!S_ISDIR(node->inode->mode))
        return err_set(err, -ENOTDIR, "%s on the way is no folder", name);
    if (w->depth >= TREE_DEPTH_MAX)
        return err_set(err, -ENAMETOOLONG, "folders are nested too deeply");
    if (w->make)
        node->layer = w->tree->layer;
    w->folders[++w->depth] = node->inode;
    return 0;
}

// One component: its length, and *path behind it and the slashes that follow. 0 at the end.
static size_t next_name(const char **path, const char *end, const char **ret)
{
    while (*path < end && **path == '/')
        (*path)++;
    *ret = *path;
    while (*path < end && **path != '/')
        (*path)++;
    return (size_t)(*path - *ret);
}

static int walk(struct way *w, const char *path, size_t len, bool inside_link, struct err *err)
{
    const char *end = path + len, *name;
    char copy[TREE_NAME_MAX + 1];
    for (size_t n; (n = next_name(&path, end, &name)) > 0;) {
        if (n == 1 && name[0] == '.')
            continue;
        if (n == 2 && memcmp(name, "..", 2) == 0) {
            if (!inside_link)
                return err_set(err, -EINVAL, "the path climbs out with \"..\"");
            w->depth -= w->depth > 0; // above the root is the root
            continue;
        }
        if (n > TREE_NAME_MAX)
            return err_set(err, -ENAMETOOLONG, "a name has more than %d bytes", TREE_NAME_MAX);
        memcpy(copy, name, n);
        copy[n] = '\0';
        int rc = enter(w, copy, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

// Splits off the last component that is one (ret_name), and walks to its folder. ret_name is "" for the root.
static int walk_to_parent(struct way *w, struct tree *t, const char *path, bool make,
                          char ret_name[TREE_NAME_MAX + 1], struct err *err)
{
    size_t len = strlen(path);
    *w = (struct way){.tree = t, .make = make, .folders = {t->root}};
    if (len > TREE_PATH_MAX)
        return err_set(err, -ENAMETOOLONG, "the path has more than %d bytes", TREE_PATH_MAX);
    for (;;) {
        while (len > 0 && path[len - 1] == '/')
            len--;
        if (len > 0 && path[len - 1] == '.' && (len == 1 || path[len - 2] == '/'))
            len--;
        else
            break;
    }
    size_t begin = len;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    size_t n = len - begin;
    if (n > TREE_NAME_MAX)
        return err_set(err, -ENAMETOOLONG, "a name has more than %d bytes", TREE_NAME_MAX);
    if (n == 2 && memcmp(path + begin, "..", 2) == 0)
        return err_set(err, -EINVAL, "the path climbs out with \"..\"");
    memcpy(ret_name, path + begin, n);
    ret_name[n] = '\0';
    return walk(w, path, begin, false, err);
}

struct tree_inode *tree_find(const struct tree *t, const char *untrusted_path, bool follow_last)
{
    struct way w;
    char name[TREE_NAME_MAX + 1];
    if (walk_to_parent(&w, (struct tree *)t, untrusted_path, false, name, NULL) < 0)
        return NULL;
    if (!name[0])
        return here(&w);
    // Files end a way: only what a link leads to is looked at again.
    struct tree_node *node = child_of(here(&w), name);
    for (unsigned i = 0; node && follow_last && S_ISLNK(node->inode->mode) && i < LINKS_MAX; i++) {
        struct way base = w;
        const char *target = node->inode->target;
        char last[TREE_NAME_MAX + 1];
        const char *slash = strrchr(target, '/');
        if (target[0] == '/')
            base.depth = 0;
        if (strlen(slash ? slash + 1 : target) > TREE_NAME_MAX ||
            walk(&base, target, slash ? (size_t)(slash - target) : 0, true, NULL) < 0)
            return NULL;
        strcpy(last, slash ? slash + 1 : target);
        w = base;
        node = child_of(here(&w), last);
    }
    return node && !(follow_last && S_ISLNK(node->inode->mode)) ? node->inode : NULL;
}

// --- changing ---

// The root, or a folder that is there, gets the other's attributes and keeps its children.
static void take_attributes(struct tree_inode *folder, struct tree_inode *from)
{
    struct tree_xattr *old = folder->xattrs;
    folder->mode = from->mode;
    folder->uid = from->uid;
    folder->gid = from->gid;
    folder->mtime_s = from->mtime_s;
    folder->mtime_ns = from->mtime_ns;
    folder->xattrs = from->xattrs;
    from->xattrs = old;
    tree_inode_free(from);
}

int tree_put(struct tree *t, const char *untrusted_path, struct tree_inode *inode, struct err *err)
{
    struct way w;
    char name[TREE_NAME_MAX + 1];
    int rc = walk_to_parent(&w, t, untrusted_path, true, name, err);
    if (rc == 0 && !name[0] && !S_ISDIR(inode->mode))
        rc = err_set(err, -EINVAL, "the root is no folder");
    if (rc == 0 && S_ISDIR(inode->mode) && w.depth >= TREE_DEPTH_MAX)
        rc = err_set(err, -ENAMETOOLONG, "folders are nested too deeply");
    if (rc < 0) {
        tree_inode_free(inode);
        return rc;
    }
    if (!name[0]) {
        take_attributes(here(&w), inode);
        return 0;
    }
    struct tree_node *node = child_of(here(&w), name);
    if (node && S_ISDIR(node->inode->mode) && S_ISDIR(inode->mode)) {
        take_attributes(node->inode, inode);
        node->layer = t->layer;
        return 0;
    }
    if (node)
        remove_node(t, here(&w), node);
    return add_node(t, here(&w), name, inode, err);
}

int tree_link(struct tree *t, const char *untrusted_path, const char *untrusted_target, struct err *err)
{
    struct tree_inode *inode = tree_find(t, untrusted_target, false);
    if (!inode || S_ISDIR(inode->mode))
        return err_set(err, -ENOENT, "it is a hard link to %.100s, which is %s", untrusted_target,
                       inode ? "a folder" : "not in the image");
    if (inode->n_links >= HARDLINKS_MAX)
        return err_set(err, -EMLINK, "it is one of more than %d hard links", HARDLINKS_MAX);
    inode->n_links++; // first: its only name may be the one that is replaced
    return tree_put(t, untrusted_path, inode, err);
}

struct hide {
    struct tree *tree;
    struct tree_node **gone;
    size_t n, cap;
    bool failed;
};

static void hide_children(struct tree *t, struct tree_inode *folder, bool *failed);

static void collect_hidden(const struct tree_node *node, void *arg)
{
    struct hide *h = arg;
    if (node->layer == h->tree->layer) {
        if (S_ISDIR(node->inode->mode))
            hide_children(h->tree, node->inode, &h->failed);
        return;
    }
    if (h->n == h->cap) {
        size_t cap = h->cap ? h->cap * 2 : 16;
        // NOLINTNEXTLINE(bugprone-sizeof-expression): an array of pointers
        struct tree_node **grown = realloc(h->gone, cap * sizeof *grown);
        if (!grown) {
            h->failed = true;
            return;
        }
        h->gone = grown;
        h->cap = cap;
    }
    h->gone[h->n++] = (struct tree_node *)node;
}

// What this layer has brought stays, wherever in the archive the whiteout stands.
static void hide_children(struct tree *t, struct tree_inode *folder, bool *failed)
{
    struct hide h = {.tree = t};
    tree_each(folder, collect_hidden, &h);
    for (size_t i = 0; i < h.n; i++)
        remove_node(t, folder, h.gone[i]);
    free(h.gone);
    *failed = *failed || h.failed;
}

int tree_hide(struct tree *t, const char *untrusted_path, bool children_only, struct err *err)
{
    struct way w;
    char name[TREE_NAME_MAX + 1];
    bool failed = false;
    int rc = walk_to_parent(&w, t, untrusted_path, false, name, err);
    if (rc == -ENOENT || rc == -ENOTDIR)
        return 0; // nothing to hide
    if (rc < 0)
        return rc;
    struct tree_node *node = name[0] ? child_of(here(&w), name) : NULL;
    struct tree_inode *folder = name[0] ? (node ? node->inode : NULL) : here(&w);
    if (node && !children_only && node->layer != t->layer)
        remove_node(t, here(&w), node);
    else if (folder && S_ISDIR(folder->mode))
        hide_children(t, folder, &failed);
    return failed ? err_set(err, -ENOMEM, "no memory for a tree of files") : 0;
}
