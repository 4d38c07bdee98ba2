// envctl cp: copies files between this host and a Linux guest, both ways, checked by digest.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api.h"
#include "common/cleanup.h"
#include "common/io.h"
#include "copy.h"
#include "proto/name.h"
#include "verbs/verbs.h"

// TENANT/NAME:PATH. A local file with a colon is written ./a:b.
struct place {
    bool in_guest;
    char address[2 * NAME_CAP];
    const char *path;
};

static void parse_place(const char *text, struct place *ret)
{
    const char *colon = strchr(text, ':');
    struct address a;
    size_t len = colon ? (size_t)(colon - text) : 0;
    *ret = (struct place){.path = text};
    if (!colon || len >= sizeof ret->address || address_parse(text, len, &a) || a.is_service || !a.tenant[0])
        return;
    ret->in_guest = true;
    snprintf(ret->address, sizeof ret->address, "%.*s", (int)len, text);
    ret->path = colon[1] ? colon + 1 : ".";
}

// The last part of a path, without slashes behind it; "" of / and of what ends in . or ..
static void base_of(const char *path, char out[SESSION_NAME_MAX + 1])
{
    size_t end = strlen(path);
    while (end > 0 && path[end - 1] == '/')
        end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/')
        start--;
    snprintf(out, SESSION_NAME_MAX + 1, "%.*s", (int)(end - start), path + start);
    if (strcmp(out, ".") == 0 || strcmp(out, "..") == 0)
        out[0] = '\0';
}

// All but the last part, the caller's to free: "." when there is nothing else. NULL: no memory.
static char *parent_of(const char *path)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        end--;
    while (end > 0 && path[end - 1] != '/')
        end--;
    return end > 0 ? strndup(path, end) : strdup(".");
}

// --- into the guest ---

// A folder in the guest takes the file under its own name.
static char *guest_target(struct copy *c, const char *path, const char *name, int *ret_rc)
{
    enum session_file_type type;
    struct err before = c->cli->err;
    size_t len = strlen(path);
    *ret_rc = copy_stat(c, path, &type);
    if (*ret_rc == CLI_NOT_FOUND && !(len > 0 && path[len - 1] == '/')) {
        c->cli->err = before; // it will be made
        *ret_rc = 0;
        return strdup(path);
    }
    if (*ret_rc != 0)
        return NULL;
    return type == SESSION_FILE_FOLDER && name[0] ? copy_join(path, name) : strdup(path);
}

// Standard input's length is not known before its end.
static int spool(struct cli *cli, FILE **ret)
{
    char data[65536];
    ssize_t n;
    FILE *file = tmpfile();
    if (!file)
        return cli_fail(cli, CLI_ERROR, "make a temporary file: %s", strerror(errno));
    while ((n = read(STDIN_FILENO, data, sizeof data)) > 0) {
        int rc = io_write_all(fileno(file), data, (size_t)n);
        if (rc < 0) {
            fclose(file);
            return cli_fail(cli, CLI_ERROR, "keep standard input in a temporary file: %s", strerror(-rc));
        }
    }
    if (n < 0) {
        fclose(file);
        return cli_fail(cli, CLI_ERROR, "read standard input: %s", strerror(errno));
    }
    *ret = file;
    return 0;
}

static int in_stdin(struct copy *c, const char *path)
{
    _cleanup_fclose_ FILE *file = NULL;
    int rc = spool(c->cli, &file);
    if (rc != 0)
        return rc;
    off_t size = lseek(fileno(file), 0, SEEK_CUR);
    lseek(fileno(file), 0, SEEK_SET);
    return copy_in_file(c, fileno(file), (uint64_t)size, 0644, SESSION_MTIME_NOW, path);
}

static int copy_in(struct copy *c, const char *source, const char *path)
{
    char name[SESSION_NAME_MAX + 1];
    struct stat st;
    int rc = 0;
    if (strcmp(source, "-") == 0)
        return in_stdin(c, path);
    // The source itself is the user's choice: a link to it is followed.
    _cleanup_free_ char *real = realpath(source, NULL);
    if (!real || stat(real, &st) < 0)
        return cli_fail(c->cli, errno == ENOENT ? CLI_NOT_FOUND : CLI_ERROR, "%s: %s", source,
                        strerror(errno));
    if (S_ISDIR(st.st_mode) && !c->recursive)
        return cli_hint(c->cli, cli_fail(c->cli, CLI_USAGE, "%s is a folder", source), "add -r");
    base_of(source, name);
    _cleanup_free_ char *target = guest_target(c, path, name, &rc);
    if (!target)
        return rc != 0 ? rc : cli_fail(c->cli, CLI_ERROR, "no memory");
    return copy_in_tree(c, AT_FDCWD, real, target, 0);
}

// --- out of the guest ---

static int copy_out(struct copy *c, const char *path, const char *target)
{
    enum session_file_type type;
    char name[SESSION_NAME_MAX + 1];
    struct stat st;
    if (strcmp(target, "-") == 0)
        return copy_out_stream(c, path, STDOUT_FILENO);
    int rc = copy_stat(c, path, &type);
    if (rc != 0)
        return rc;
    if (type == SESSION_FILE_FOLDER && !c->recursive)
        return cli_hint(c->cli, cli_fail(c->cli, CLI_USAGE, "%s:%s is a folder", c->address, path), "add -r");
    base_of(path, name);
    bool into = stat(target, &st) == 0 && S_ISDIR(st.st_mode);
    _cleanup_free_ char *parent = into ? strdup(target) : parent_of(target);
    if (!parent)
        return cli_fail(c->cli, CLI_ERROR, "no memory");
    if (!into)
        base_of(target, name);
    _cleanup_close_ int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return cli_fail(c->cli, CLI_NOT_FOUND, "%s: %s", parent, strerror(errno));
    if (!name[0])
        snprintf(name, sizeof name, ".");
    return type == SESSION_FILE_FOLDER ? copy_out_tree(c, path, fd, name, SESSION_MODE_DEFAULT, 0)
                                       : copy_out_file(c, path, fd, name);
}

static int copy(struct cli *cli, const char *from, const char *to, bool recursive)
{
    struct copy c = {.cli = cli, .recursive = recursive};
    struct place source, target;
    parse_place(from, &source);
    parse_place(to, &target);
    if (source.in_guest == target.in_guest) {
        cli_fail(cli, CLI_USAGE,
                 source.in_guest ? "both places are in guests" : "neither place is in a guest");
        return cli_hint(cli, CLI_USAGE, "one of them is TENANT/NAME:PATH, the other is here");
    }
    c.address = source.in_guest ? source.address : target.address;
    int rc = api_environment_path(cli, c.address, "/copy", c.path);
    if (rc == 0)
        rc = source.in_guest ? copy_out(&c, source.path, to) : copy_in(&c, from, target.path);
    if (rc == 0 && c.n_skipped > 0)
        rc = cli_fail(cli, CLI_ERROR, "%u could not be copied; all others were", c.n_skipped);
    return rc;
}

int verb_cp(struct cli *cli, int argc, char **argv)
{
    bool recursive = false;
    const struct cli_option options[] = {{"recursive", 'r', CLI_FLAG, &recursive}};
    int n, rest;
    int rc = cli_options(cli, options, 1, argc, argv, &n, &rest);
    if (rc == 0 && n != 2)
        rc = cli_usage(cli);
    return rc != 0 ? rc : copy(cli, argv[0], argv[1], recursive);
}
