// What the host asks of the guest itself: addresses, sessions, figures, the clock. Called by link.c; the
// program around the agent does the work, where it has said that it can.
#include "state.h"

#include <string.h>

bool machine_can(const struct agent *a, enum agent_frame_type type)
{
    static const uint32_t needed[AGENT_FRAME_TYPE_COUNT] = {
        [AGENT_CONFIGURE] = AGENT_CAP_CONFIGURE,
        [AGENT_OPEN] = AGENT_CAP_SESSION,
        [AGENT_STATS] = AGENT_CAP_STATS,
        [AGENT_RESUMED] = AGENT_CAP_CLOCK,
    };
    return (a->ops->capabilities & needed[type]) == needed[type];
}

static void answer(struct agent *a, uint32_t tag, enum receipt_code code, const char *detail)
{
    size_t len = strlen(detail);
    len = len > AGENT_DETAIL_MAX ? AGENT_DETAIL_MAX : len;
    link_push(a, &(struct agent_frame){.type = AGENT_RESULT,
                                       .tag = tag,
                                       .receipt = {.code = code, .detail = {(const uint8_t *)detail, len}}});
}

void machine_configure(struct agent *a, struct frame_in *in, const struct agent_frame *f)
{
    const char *detail = "";
    (void)in;
    enum receipt_code code = a->ops->configure(a->ctx, &f->configure, &detail);
    answer(a, f->tag, code, detail);
}

void machine_open(struct agent *a, struct frame_in *in, const struct agent_frame *f)
{
    const char *detail = "";
    (void)in;
    enum receipt_code code = a->ops->open_session(a->ctx, &f->session.token, f->session.kind, &detail);
    answer(a, f->tag, code, detail);
}

void machine_stats(struct agent *a, struct frame_in *in, const struct agent_frame *f)
{
    struct agent_frame is = {.type = AGENT_STATS_IS, .tag = f->tag};
    (void)in;
    a->ops->stats(a->ctx, &is.stats);
    link_push(a, &is);
}

void machine_resumed(struct agent *a, struct frame_in *in, const struct agent_frame *f)
{
    (void)in;
    agent_set_clock(a, f->realtime_ns);
}
