// The difference between a torn tail and damage: a group is written only when everything before it is
// durable, and each record carries the offset of that. So whatever is unreadable before such an offset was
// durable once.
#include "journal/scan.h"

#include <string.h>

// Something of this segment begins here, and is not a record any more. False: it is what was there before.
static bool looks_torn(const struct format_reader *r)
{
    struct format_record header;
    if (r->at + sizeof header > r->len)
        return false;
    memcpy(&header, r->untrusted + r->at, sizeof header);
    return header.salt == r->salt;
}

// Behind something unreadable. True: goes on with *ret, which was found behind it.
static bool pass_damage(struct format_reader *r, uint64_t end, const struct scan_cb *cb, void *arg,
                        struct format_found *ret)
{
    uint64_t from = r->at;
    bool found = format_seek(r, ret);
    if (found && (end > 0 || ret->synced > from)) {
        cb->on_lost(arg, from, ret->offset);
        return true;
    }
    r->at = from;
    if (end > 0)
        cb->on_lost(arg, from, end);
    else if (found || looks_torn(r))
        cb->on_torn(arg, from);
    return false;
}

int scan_segment(const void *untrusted, size_t len, uint64_t salt, uint64_t end, const struct scan_cb *cb,
                 void *arg, uint64_t *ret_end)
{
    if (end > len) {
        cb->on_lost(arg, len, end);
        end = len;
    }
    struct format_reader r = {
        .untrusted = untrusted, .len = end ? end : len, .at = FORMAT_FIRST, .salt = salt};
    struct format_found f;
    while (end == 0 || r.at < end) {
        if (!format_next(&r, &f) && !pass_damage(&r, end, cb, arg, &f))
            break;
        int rc = cb->on_record(arg, &f);
        if (rc < 0)
            return rc;
    }
    *ret_end = end ? end : r.at;
    return 0;
}
