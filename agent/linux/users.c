// See users.h. Lines that are too long or do not parse are passed over, as libc does.
#include "users.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"

#define LINE_CAP 4096

static FILE *open_table(const char *root, const char *name)
{
    char path[512];
    if (snprintf(path, sizeof path, "%s/etc/%s", root, name) >= (int)sizeof path)
        return NULL;
    return fopen(path, "re");
}

// The next line without its end; longer ones are skipped. False at the end.
static bool next_line(FILE *f, char line[LINE_CAP])
{
    while (fgets(line, LINE_CAP, f)) {
        size_t len = strlen(line);
        if (len > 0 && line[len - 1] == '\n') {
            line[len - 1] = '\0';
            return true;
        }
        if (feof(f))
            return true;
        for (int c = 0; c != EOF && c != '\n';)
            c = getc(f);
    }
    return false;
}

// Splits at colons into exactly n fields.
static bool split(char *line, char **fields, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        fields[i] = strsep(&line, ":");
        if (!fields[i])
            return false;
    }
    return line == NULL;
}

// Digits only. (uid_t)-1 means "nobody in particular" to the kernel.
static bool parse_number(const char *text, unsigned *ret)
{
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    if (errno != 0 || *end || n >= UINT32_MAX)
        return false;
    *ret = (unsigned)n;
    return true;
}

static void copy_text(char out[USER_TEXT_CAP], const char *text, const char *otherwise)
{
    snprintf(out, USER_TEXT_CAP, "%s", *text ? text : otherwise);
}

// Finds the entry of a name, or of a uid when name is NULL.
static bool find_entry(const char *root, const char *name, unsigned wanted_uid, struct user *ret)
{
    char line[LINE_CAP], *fields[7];
    unsigned uid, gid;
    _cleanup_fclose_ FILE *f = open_table(root, "passwd");
    while (f && next_line(f, line)) {
        if (!split(line, fields, 7) || !parse_number(fields[2], &uid) || !parse_number(fields[3], &gid))
            continue;
        if (name ? strcmp(fields[0], name) != 0 : uid != wanted_uid)
            continue;
        ret->uid = uid;
        ret->gid = gid;
        copy_text(ret->name, fields[0], "?");
        copy_text(ret->home, fields[5], "/");
        copy_text(ret->shell, fields[6], "/bin/sh");
        return true;
    }
    return false;
}

static bool is_member(char *members, const char *name)
{
    for (char *m; (m = strsep(&members, ",")) != NULL;)
        if (strcmp(m, name) == 0)
            return true;
    return false;
}

static void add_group(struct user *u, gid_t gid)
{
    for (size_t i = 0; i < u->n_groups; i++)
        if (u->groups[i] == gid)
            return;
    if (u->n_groups < USER_GROUPS_MAX)
        u->groups[u->n_groups++] = gid;
}

static void find_groups(const char *root, struct user *u)
{
    char line[LINE_CAP], *fields[4];
    unsigned gid;
    add_group(u, u->gid);
    _cleanup_fclose_ FILE *f = open_table(root, "group");
    while (f && next_line(f, line))
        if (split(line, fields, 4) && parse_number(fields[2], &gid) && is_member(fields[3], u->name))
            add_group(u, gid);
}

static int find_by_number(const char *root, const char *text, struct user *u, struct err *err)
{
    char uid_text[32];
    const char *colon = strchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : strlen(text);
    unsigned uid, gid = 0;
    snprintf(uid_text, sizeof uid_text, "%.*s", (int)len, text);
    if (len >= sizeof uid_text || !parse_number(uid_text, &uid) || (colon && !parse_number(colon + 1, &gid)))
        return err_set(err, -EINVAL, "\"%s\" is neither a user's name nor a uid or uid:gid", text);
    if (!find_entry(root, NULL, uid, u)) {
        u->uid = u->gid = uid;
        snprintf(u->name, sizeof u->name, "%u", uid);
        copy_text(u->home, "", "/");
        copy_text(u->shell, "", "/bin/sh");
    }
    if (colon) {
        u->gid = gid;
        add_group(u, gid); // and no others: the caller has said which
    } else {
        find_groups(root, u);
    }
    return 0;
}

int users_find(const char *root, const char *text, struct user *ret, struct err *err)
{
    struct user u = {0};
    int rc = 0;
    if (*text == '\0')
        text = "0";
    if (*text >= '0' && *text <= '9')
        rc = find_by_number(root, text, &u, err);
    else if (strchr(text, ':') || !find_entry(root, text, 0, &u))
        rc = err_set(err, -ENOENT, "no user \"%s\" in /etc/passwd", text);
    else
        find_groups(root, &u);
    if (rc == 0)
        *ret = u;
    return rc;
}
