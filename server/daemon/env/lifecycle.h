// The life cycle of an environment: states, events, and the table of what each event means in each state.
// Pure: env.c performs the actions and is the only writer of a state. Called by env/ and the API (names).
#pragma once

#include <stdbool.h>

enum env_state {
    ENV_DEFINED,  // never started
    ENV_STARTING, // asked for: the privileged helper is to spawn the virtual machine
    ENV_BOOTING,  // the virtual machine runs, its agent has not said hello (or its connection ended)
    ENV_READY,    // the agent said hello
    ENV_STOPPING, // told to end, or ended by itself and not yet reaped
    ENV_STOPPED,  // no virtual machine: it was told to stop, or its program ended by itself
    ENV_PAUSED,   // its vCPUs and devices stand still, by an operator's wish
    ENV_FAILED,   // no virtual machine: something went wrong, the reason says what
    ENV_LOST,     // the host no longer knows of the virtual machine: it was restarted
    ENV_STATE_COUNT
};

enum env_event {
    ENV_EVENT_START,       // wanted to run and not running
    ENV_EVENT_STOP,        // not wanted to run
    ENV_EVENT_SPAWNED,     // the helper has spawned the virtual machine
    ENV_EVENT_REFUSED,     // it could not be spawned
    ENV_EVENT_HELLO,       // the agent said hello
    ENV_EVENT_AGENT_GONE,  // the agent's connection ended
    ENV_EVENT_GUEST_ENDED, // envvm reports the end of the guest; the process is still to be reaped
    ENV_EVENT_ENDED,       // reaped; it ended as told, or its program ended by itself
    ENV_EVENT_BROKE,       // reaped; something else ended it
    ENV_EVENT_MISSING,     // the helper knows of no such virtual machine
    ENV_EVENT_ADOPTED,     // the helper has it running: envd was restarted, or the link to the helper was
    ENV_EVENT_TIMEOUT,     // the time that the state allows is over
    ENV_EVENT_PAUSED,      // envvm reports that it stands still
    ENV_EVENT_RESUMED,     // envvm reports that it goes on
    ENV_EVENT_COUNT
};

enum env_action {
    ENV_ACTION_ERROR,    // the event cannot happen here: a protocol error; nothing changes
    ENV_ACTION_NONE,     // nothing to do beyond the change of state
    ENV_ACTION_SPAWN,    // open its files, ask the helper for a network and a virtual machine
    ENV_ACTION_ATTACH,   // take the control socket into use and wait for the agent
    ENV_ACTION_SHUTDOWN, // ask the agent to finish within the grace, or end the machine where there is no
                         // agent
    ENV_ACTION_ESCALATE, // the next harder way to end it: agent, envvm, SIGKILL
    ENV_ACTION_KILL,     // SIGKILL at once
    ENV_ACTION_GIVE_UP,  // the agent never said hello: SIGKILL, and that is the reason
    ENV_ACTION_RESUMED,  // tell the agent that time has passed; it is ready if its connection has survived
    ENV_ACTION_RELEASE,  // it is gone: let go of everything that belonged to this run
    ENV_ACTION_COUNT
};

struct env_transition {
    enum env_action action;
    enum env_state next;
};

// What event means in state. For an event that cannot happen: ENV_ACTION_ERROR and the same state.
struct env_transition lifecycle_next(enum env_state state, enum env_event event);

// True where a virtual machine exists or may exist.
bool env_state_has_vm(enum env_state state);
// "defined", "starting", …: the words of the API. Parsing leaves *ret untouched on failure.
const char *env_state_name(enum env_state state);
bool env_state_parse(const char *text, enum env_state *ret);
const char *env_event_name(enum env_event event);
