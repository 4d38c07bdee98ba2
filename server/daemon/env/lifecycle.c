// Owns the table [STATE][EVENT] of an environment's life. Called by env.c; performs nothing itself.
#include "env/lifecycle.h"

#include <string.h>

#define TO(action_, next_)                                                                                   \
    {                                                                                                        \
        ENV_ACTION_##action_, ENV_##next_                                                                    \
    }

// An empty cell is ENV_ACTION_ERROR, for that is 0.
static const struct env_transition table[ENV_STATE_COUNT][ENV_EVENT_COUNT] = {
    [ENV_DEFINED] =
        {
            [ENV_EVENT_START] = TO(SPAWN, STARTING),
            [ENV_EVENT_STOP] = TO(NONE, DEFINED),
        },
    [ENV_STARTING] =
        {
            // The request is on its way and cannot be called back: what it makes is ended when it is there.
            [ENV_EVENT_STOP] = TO(NONE, STOPPING),
            [ENV_EVENT_SPAWNED] = TO(ATTACH, BOOTING),
            [ENV_EVENT_REFUSED] = TO(RELEASE, FAILED),
            [ENV_EVENT_GUEST_ENDED] = TO(NONE, STOPPING),
            [ENV_EVENT_ENDED] = TO(RELEASE, STOPPED),
            [ENV_EVENT_BROKE] = TO(RELEASE, FAILED),
            // The link broke before the answer and the request never arrived: ask again.
            [ENV_EVENT_MISSING] = TO(SPAWN, STARTING),
            [ENV_EVENT_ADOPTED] = TO(ATTACH, BOOTING),
        },
    [ENV_BOOTING] =
        {
            [ENV_EVENT_STOP] = TO(SHUTDOWN, STOPPING),
            [ENV_EVENT_HELLO] = TO(NONE, READY),
            [ENV_EVENT_AGENT_GONE] = TO(NONE, BOOTING),
            [ENV_EVENT_GUEST_ENDED] = TO(NONE, STOPPING),
            [ENV_EVENT_ENDED] = TO(RELEASE, STOPPED),
            [ENV_EVENT_BROKE] = TO(RELEASE, FAILED),
            [ENV_EVENT_MISSING] = TO(RELEASE, LOST),
            [ENV_EVENT_ADOPTED] = TO(ATTACH, BOOTING),
            [ENV_EVENT_TIMEOUT] = TO(GIVE_UP, STOPPING),
            [ENV_EVENT_PAUSED] = TO(NONE, PAUSED),
            [ENV_EVENT_RESUMED] = TO(NONE, BOOTING),
        },
    [ENV_READY] =
        {
            [ENV_EVENT_STOP] = TO(SHUTDOWN, STOPPING),
            [ENV_EVENT_AGENT_GONE] = TO(NONE, BOOTING),
            [ENV_EVENT_GUEST_ENDED] = TO(NONE, STOPPING),
            [ENV_EVENT_ENDED] = TO(RELEASE, STOPPED),
            [ENV_EVENT_BROKE] = TO(RELEASE, FAILED),
            [ENV_EVENT_MISSING] = TO(RELEASE, LOST),
            [ENV_EVENT_ADOPTED] = TO(ATTACH, BOOTING),
            [ENV_EVENT_PAUSED] = TO(NONE, PAUSED),
            [ENV_EVENT_RESUMED] = TO(NONE, READY),
        },
    [ENV_STOPPING] =
        {
            [ENV_EVENT_STOP] = TO(NONE, STOPPING),
            [ENV_EVENT_SPAWNED] = TO(KILL, STOPPING),
            [ENV_EVENT_REFUSED] = TO(RELEASE, STOPPED),
            [ENV_EVENT_HELLO] = TO(SHUTDOWN, STOPPING),
            [ENV_EVENT_AGENT_GONE] = TO(NONE, STOPPING),
            [ENV_EVENT_GUEST_ENDED] = TO(NONE, STOPPING),
            [ENV_EVENT_ENDED] = TO(RELEASE, STOPPED),
            [ENV_EVENT_BROKE] = TO(RELEASE, FAILED),
            [ENV_EVENT_MISSING] = TO(RELEASE, STOPPED),
            [ENV_EVENT_ADOPTED] = TO(KILL, STOPPING),
            [ENV_EVENT_TIMEOUT] = TO(ESCALATE, STOPPING),
            [ENV_EVENT_PAUSED] = TO(NONE, STOPPING),
            [ENV_EVENT_RESUMED] = TO(NONE, STOPPING),
        },
    [ENV_STOPPED] =
        {
            [ENV_EVENT_START] = TO(SPAWN, STARTING),
            [ENV_EVENT_STOP] = TO(NONE, STOPPED),
        },
    [ENV_PAUSED] =
        {
            [ENV_EVENT_STOP] = TO(SHUTDOWN, STOPPING),
            // Both were under way when it stood still.
            [ENV_EVENT_HELLO] = TO(NONE, PAUSED),
            [ENV_EVENT_AGENT_GONE] = TO(NONE, PAUSED),
            [ENV_EVENT_GUEST_ENDED] = TO(NONE, STOPPING),
            [ENV_EVENT_ENDED] = TO(RELEASE, STOPPED),
            [ENV_EVENT_BROKE] = TO(RELEASE, FAILED),
            [ENV_EVENT_MISSING] = TO(RELEASE, LOST),
            [ENV_EVENT_ADOPTED] = TO(ATTACH, PAUSED),
            [ENV_EVENT_PAUSED] = TO(NONE, PAUSED),
            [ENV_EVENT_RESUMED] = TO(RESUMED, BOOTING),
        },
    [ENV_FAILED] =
        {
            [ENV_EVENT_START] = TO(SPAWN, STARTING),
            // An operator's stop takes note of the failure.
            [ENV_EVENT_STOP] = TO(NONE, FAILED),
        },
    [ENV_LOST] =
        {
            [ENV_EVENT_START] = TO(SPAWN, STARTING),
            [ENV_EVENT_STOP] = TO(NONE, LOST),
        },
};

static const char *const state_names[ENV_STATE_COUNT] = {
    [ENV_DEFINED] = "defined", [ENV_STARTING] = "starting", [ENV_BOOTING] = "booting",
    [ENV_READY] = "ready",     [ENV_STOPPING] = "stopping", [ENV_STOPPED] = "stopped",
    [ENV_PAUSED] = "paused",   [ENV_FAILED] = "failed",     [ENV_LOST] = "lost",
};

static const char *const event_names[ENV_EVENT_COUNT] = {
    [ENV_EVENT_START] = "start",
    [ENV_EVENT_STOP] = "stop",
    [ENV_EVENT_SPAWNED] = "spawned",
    [ENV_EVENT_REFUSED] = "refused",
    [ENV_EVENT_HELLO] = "hello",
    [ENV_EVENT_AGENT_GONE] = "agent-gone",
    [ENV_EVENT_GUEST_ENDED] = "guest-ended",
    [ENV_EVENT_ENDED] = "ended",
    [ENV_EVENT_BROKE] = "broke",
    [ENV_EVENT_MISSING] = "missing",
    [ENV_EVENT_ADOPTED] = "adopted",
    [ENV_EVENT_TIMEOUT] = "timeout",
    [ENV_EVENT_PAUSED] = "paused",
    [ENV_EVENT_RESUMED] = "resumed",
};

struct env_transition lifecycle_next(enum env_state state, enum env_event event)
{
    struct env_transition t = table[state][event];
    if (t.action == ENV_ACTION_ERROR)
        t.next = state;
    return t;
}

bool env_state_has_vm(enum env_state state)
{
    return state == ENV_STARTING || state == ENV_BOOTING || state == ENV_READY || state == ENV_STOPPING ||
           state == ENV_PAUSED;
}

const char *env_state_name(enum env_state state)
{
    return state_names[state];
}

bool env_state_parse(const char *text, enum env_state *ret)
{
    for (int i = 0; i < ENV_STATE_COUNT; i++) {
        if (strcmp(text, state_names[i]) != 0)
            continue;
        *ret = (enum env_state)i;
        return true;
    }
    return false;
}

const char *env_event_name(enum env_event event)
{
    return event_names[event];
}
