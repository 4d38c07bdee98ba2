// A router's journal for one input: in memory where there is a tmpfs, and gone afterwards.
#pragma once

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "route/router.h"

#define JOURNAL_FOLDER_CAP 64

static inline bool journal_folder_open(struct router *r, char folder[JOURNAL_FOLDER_CAP])
{
    snprintf(folder, JOURNAL_FOLDER_CAP, "%s",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm/fuzz-XXXXXX" : "/tmp/fuzz-XXXXXX");
    struct err err;
    const struct journal_config config = {.folder = folder, .segment_bytes = 2u << 20};
    return mkdtemp(folder) && router_open_journal(r, &config, &err) == 0;
}

static inline void journal_folder_remove(const char *folder)
{
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (e->d_name[0] != '.')
            unlinkat(dirfd(dir), e->d_name, 0);
    if (dir)
        closedir(dir);
    rmdir(folder);
}
