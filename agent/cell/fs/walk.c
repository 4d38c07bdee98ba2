// Path resolution: see tree_find() and tree_find_parent() in tree.h.
#include <linux/errno.h>

#include "base/string.h"
#include "fs/tree_private.h"

#define LINKS_MAX 40

// What is left to walk: a path, and below it the paths that symbolic links interrupted, joined into one
// buffer.
struct walk {
    char text[TREE_PATH_MAX];
    size_t pos, len;
    unsigned n_links;
};

static int walk_set(struct walk *w, const char *path, size_t len)
{
    if (len >= TREE_PATH_MAX)
        return -ENAMETOOLONG;
    if (len == 0)
        return -ENOENT;
    memcpy(w->text, path, len);
    w->pos = 0;
    w->len = len;
    w->n_links = 0;
    return 0;
}

// Puts a link's target in front of what is left.
static int walk_follow(struct walk *w, const struct node *link)
{
    size_t rest = w->len - w->pos, target = link->size_bytes;
    if (++w->n_links > LINKS_MAX)
        return -ELOOP;
    if (target == 0)
        return -ENOENT;
    if (target + 1 + rest >= TREE_PATH_MAX)
        return -ENAMETOOLONG;
    memmove(w->text + target + 1, w->text + w->pos, rest);
    memcpy(w->text, link->data, target);
    w->text[target] = '/';
    w->pos = 0;
    w->len = rest ? target + 1 + rest : target;
    return 0;
}

static void skip_slashes(struct walk *w)
{
    while (w->pos < w->len && w->text[w->pos] == '/')
        w->pos++;
}

// One component of what is left; false at the end.
static bool walk_part(struct walk *w, const char **ret, size_t *ret_len)
{
    skip_slashes(w);
    size_t start = w->pos;
    while (w->pos < w->len && w->text[w->pos] != '/')
        w->pos++;
    *ret = w->text + start;
    *ret_len = w->pos - start;
    return *ret_len != 0;
}

static bool at_last_part(const struct walk *w)
{
    for (size_t i = w->pos; i < w->len; i++)
        if (w->text[i] != '/')
            return false;
    return true;
}

static bool is_dots(const char *part, size_t len)
{
    return part[0] == '.' && (len == 1 || (len == 2 && part[1] == '.'));
}

// Goes one component down (or stays, or up). The part must be copied out of w->text before w changes.
static int step(struct walk *w, struct node **at, const char *part, size_t len, bool follow)
{
    if ((*at)->kind != NODE_DIRECTORY)
        return -ENOTDIR;
    if (len > TREE_NAME_MAX)
        return -ENAMETOOLONG;
    if (is_dots(part, len)) {
        if (len == 2 && (*at)->parent)
            *at = (*at)->parent;
        return 0;
    }
    struct node *child = tree_child(*at, part, len);
    if (!child)
        return -ENOENT;
    if (child->kind != NODE_SYMLINK || !follow) {
        *at = child;
        return 0;
    }
    if (child->size_bytes && child->data[0] == '/')
        *at = tree_root();
    return walk_follow(w, child);
}

static int walk_all(struct walk *w, struct node **at, unsigned flags)
{
    const char *part;
    size_t len;
    while (walk_part(w, &part, &len)) {
        bool last = at_last_part(w), slash = w->pos < w->len;
        int rc = step(w, at, part, len, !last || slash || !(flags & TREE_NO_FOLLOW));
        if (rc < 0)
            return rc;
    }
    if (w->len && w->text[w->len - 1] == '/' && (*at)->kind != NODE_DIRECTORY)
        return -ENOTDIR;
    return 0;
}

static int start(struct walk *w, struct node *base, const char *path, size_t len, struct node **ret_at)
{
    int rc = walk_set(w, path, len);
    if (rc < 0)
        return rc;
    struct node *root = tree_root();
    if (!root)
        return -ENOMEM;
    *ret_at = path[0] == '/' || !base ? root : base;
    return 0;
}

int tree_find(struct node *base, const char *path, size_t len, unsigned flags, struct node **ret)
{
    struct walk w;
    struct node *at;
    int rc = start(&w, base, path, len, &at);
    if (rc == 0)
        rc = walk_all(&w, &at, flags);
    if (rc == 0)
        *ret = at;
    return rc;
}

int tree_find_parent(struct node *base, const char *path, size_t len, struct node **ret_directory,
                     const char **ret_name, size_t *ret_name_len, bool *ret_slash)
{
    size_t end = len;
    while (end && path[end - 1] == '/')
        end--;
    size_t start_of_last = end;
    while (start_of_last && path[start_of_last - 1] != '/')
        start_of_last--;
    size_t name_len = end - start_of_last;
    if (name_len == 0 || is_dots(path + start_of_last, name_len))
        return len ? -EEXIST : -ENOENT;
    if (name_len > TREE_NAME_MAX)
        return -ENAMETOOLONG;
    struct walk w;
    struct node *at;
    int rc = start(&w, base, path, len, &at);
    if (rc < 0)
        return rc;
    w.len = start_of_last;
    rc = walk_all(&w, &at, 0);
    if (rc < 0)
        return rc;
    if (at->kind != NODE_DIRECTORY)
        return -ENOTDIR;
    *ret_directory = at;
    *ret_name = path + start_of_last;
    *ret_name_len = name_len;
    *ret_slash = end != len;
    return 0;
}
