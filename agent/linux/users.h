// Who a command runs as: a name, a uid or uid:gid, looked up in passwd(5) and group(5) files. An own small
// reader, for a static program cannot load the distribution's name services.
#pragma once

#include <sys/types.h>

#include "common/err.h"

#define USER_GROUPS_MAX 64
#define USER_TEXT_CAP   256

struct user {
    uid_t uid;
    gid_t gid;
    size_t n_groups;
    gid_t groups[USER_GROUPS_MAX];
    char name[USER_TEXT_CAP];  // the uid in digits when it has none
    char home[USER_TEXT_CAP];  // "/" when unknown
    char shell[USER_TEXT_CAP]; // "/bin/sh" when unknown
};

// root: the folder whose etc/ is read, "" for this system. text: "" is root. A uid without an entry is fine,
// a name is not: -ENOENT with a text for people; -EINVAL: neither a name nor a number.
int users_find(const char *root, const char *text, struct user *ret, struct err *err);
