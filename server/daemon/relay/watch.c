// Owns the following of a guest's frames. Called through api/.
#include "relay/watch.h"

#include <stdio.h>
#include <string.h>

// What agents send; everything else goes the other way.
static const bool from_agents[SESSION_FRAME_TYPE_COUNT] = {
    [SESSION_STARTED] = true, [SESSION_ERROR] = true,  [SESSION_STDOUT] = true,
    [SESSION_STDERR] = true,  [SESSION_CREDIT] = true, [SESSION_EXIT] = true,
    [SESSION_DATA] = true,    [SESSION_STAT] = true,   [SESSION_END] = true,
};

static void finish_frame(struct session_watch *w)
{
    w->head_len = 0;
    w->started = w->started || w->frame.type == SESSION_STARTED;
    if (w->frame.type != SESSION_EXIT && w->frame.type != SESSION_ERROR && w->frame.type != SESSION_END)
        return;
    w->ended = true;
    w->last = w->frame.type;
    memcpy(w->last_first, w->first, sizeof w->first);
}

static const char *begin_frame(struct session_watch *w)
{
    const char *wrong = session_header_read(w->head, &w->frame);
    if (wrong)
        return wrong;
    if (!from_agents[w->frame.type])
        return "a frame that agents do not send";
    if (w->ended)
        return "a frame after the last";
    w->left = w->frame.len_bytes;
    memset(w->first, 0, sizeof w->first);
    if (w->left == 0)
        finish_frame(w);
    return NULL;
}

static size_t take_payload(struct session_watch *w, const uint8_t *data, size_t len)
{
    size_t n = len < w->left ? len : w->left, at = w->frame.len_bytes - w->left;
    for (size_t i = 0; i < n && at + i < sizeof w->first; i++)
        w->first[at + i] = data[i];
    w->left -= (uint32_t)n;
    if (w->left == 0)
        finish_frame(w);
    return n;
}

const char *session_watch_feed(struct session_watch *w, const uint8_t *untrusted, size_t len)
{
    while (len > 0) {
        size_t n;
        if (w->head_len < SESSION_HEADER_LEN) {
            n = SESSION_HEADER_LEN - w->head_len < len ? SESSION_HEADER_LEN - w->head_len : len;
            memcpy(w->head + w->head_len, untrusted, n);
            w->head_len += n;
            const char *wrong = w->head_len == SESSION_HEADER_LEN ? begin_frame(w) : NULL;
            if (wrong)
                return wrong;
        } else {
            n = take_payload(w, untrusted, len);
        }
        untrusted += n;
        len -= n;
    }
    return NULL;
}

void session_watch_result(const struct session_watch *w, char *out, size_t cap)
{
    if (!w->ended)
        snprintf(out, cap, "unfinished");
    else if (w->last == SESSION_EXIT)
        snprintf(out, cap, "%s %u", w->last_first[0] == SESSION_SIGNALLED ? "signal" : "exited",
                 w->last_first[1]);
    else if (w->last == SESSION_ERROR)
        snprintf(out, cap, "error %s", session_error_name(w->last_first[0]));
    else
        snprintf(out, cap, "complete");
}
