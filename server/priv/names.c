// Owns the names of kernel objects. Called by everything that makes or removes one; knows no system calls.
#include "names.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define UIDS_FIRST        0x70000000u
#define UIDS_PER_INSTANCE 4096u
#define UID_RANGES        32768u

static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz0123456789";

bool instance_parse(const char *s, struct instance *ret)
{
    if (strlen(s) != INSTANCE_LEN || strspn(s, alphabet) != INSTANCE_LEN)
        return false;
    memcpy(ret->text, s, sizeof ret->text);
    return true;
}

// FNV-1a: spreads names; nothing depends on its being hard to invert.
static uint64_t hash_text(const char *s)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 0x100000001b3u;
    return h ^ (h >> 32);
}

struct instance instance_of_folder(const char *real_path)
{
    struct instance i = {0};
    uint64_t h = hash_text(real_path);
    for (int n = 0; n < INSTANCE_LEN; n++, h /= sizeof alphabet - 1)
        i.text[n] = alphabet[h % (sizeof alphabet - 1)];
    return i;
}

unsigned instance_uid_base(const struct instance *i)
{
    return UIDS_FIRST + (unsigned)(hash_text(i->text) % UID_RANGES) * UIDS_PER_INSTANCE;
}

void name_bridge(const struct instance *i, unsigned net, char ret[IFNAMSIZ])
{
    snprintf(ret, IFNAMSIZ, "ev%sb%u", i->text, net);
}

void name_tap(const struct instance *i, unsigned slot, char ret[IFNAMSIZ])
{
    snprintf(ret, IFNAMSIZ, "ev%st%u", i->text, slot);
}

void name_link_prefix(const struct instance *i, char ret[IFNAMSIZ])
{
    snprintf(ret, IFNAMSIZ, "ev%s", i->text);
}

void name_table(const struct instance *i, char ret[TABLE_NAME_CAP])
{
    snprintf(ret, TABLE_NAME_CAP, "envd_%s", i->text);
}

bool name_is_our_link(const struct instance *i, const char *link)
{
    char prefix[IFNAMSIZ];
    name_link_prefix(i, prefix);
    size_t n = strlen(prefix);
    if (strncmp(link, prefix, n) != 0 || (link[n] != 'b' && link[n] != 't'))
        return false;
    const char *digits = link + n + 1;
    return *digits != '\0' && strspn(digits, "0123456789") == strlen(digits);
}
