// See guest.h.
#include "guest.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "figures.h"

#define CLOCK_OFF_NS 500000000ll // less is left to whatever keeps the guest's time

static int set_hostname(const struct agent_configure *c, struct err *err)
{
    char name[NAME_CAP], now[NAME_CAP + 1] = "";
    wire_view_to_cstr(c->hostname, name, sizeof name);
    gethostname(now, sizeof now - 1);
    if (strcmp(name, now) == 0 || sethostname(name, strlen(name)) == 0)
        return 0;
    return err_errno(err, -errno, "set the host name to %s", name);
}

static enum receipt_code configure(void *ctx, const struct agent_configure *c, const char **ret_detail)
{
    struct guest *g = ctx;
    struct err err;
    int rc = set_hostname(c, &err);
    int net_rc = net_configure(g->net, c, &err);
    rc = net_rc < 0 || rc == 0 ? net_rc : rc;
    if (rc < 0) {
        log_error(NULL, "network: %s", err.text);
        snprintf(g->detail, sizeof g->detail, "%s", err.text);
        *ret_detail = g->detail;
        return RECEIPT_INVALID;
    }
    if (rc > 0)
        *ret_detail = "the NIC is not there yet; it is set up when it comes";
    return RECEIPT_ACCEPTED;
}

static enum receipt_code open_session(void *ctx, const struct id *token, enum agent_session_kind kind,
                                      const char **ret_detail)
{
    struct guest *g = ctx;
    (void)kind; // the stream's first frame says it too
    init_finish(g->init);
    return sessions_open(g->sessions, token, ret_detail) ? RECEIPT_ACCEPTED : RECEIPT_RATE_LIMITED;
}

static void stats(void *ctx, struct agent_stats *ret)
{
    (void)ctx;
    figures_read(ret);
}

static void set_clock(void *ctx, uint64_t realtime_ns)
{
    struct timespec now, wanted = {.tv_sec = (time_t)(realtime_ns / 1000000000u),
                                   .tv_nsec = (long)(realtime_ns % 1000000000u)};
    (void)ctx;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t off_ns = (int64_t)(realtime_ns - ((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec));
    if (off_ns > -CLOCK_OFF_NS && off_ns < CLOCK_OFF_NS)
        return;
    if (clock_settime(CLOCK_REALTIME, &wanted) == 0)
        log_info(NULL, "the clock was %lld ms off and is set", (long long)(off_ns / 1000000));
    else
        log_warn(NULL, "the clock is %lld ms off and cannot be set: %s", (long long)(off_ns / 1000000),
                 strerror(errno));
}

static void end(void *ctx, uint32_t grace_ms, const char *reason)
{
    log_info(NULL, "the host asks to end within %u ms: %s", grace_ms, reason);
    power_end(((struct guest *)ctx)->power, POWER_OFF, grace_ms);
}

struct hosting_guest guest_operations(struct guest *g)
{
    return (struct hosting_guest){
        .ctx = g,
        .capabilities = AGENT_CAP_SESSION | AGENT_CAP_CONFIGURE | AGENT_CAP_STATS | AGENT_CAP_CLOCK,
        .configure = configure,
        .open_session = open_session,
        .stats = stats,
        .set_clock = set_clock,
        .shutdown = end,
    };
}
