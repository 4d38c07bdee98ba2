// A session that a person or a script is in: standard input, output, error, signals and the terminal's size
// on this side, frames on the other. Called by the verbs exec and console.
#pragma once

#include "channel.h"

enum interact_end {
    INTERACT_EXITED,    // value: the exit status
    INTERACT_SIGNALLED, // value: the signal
    INTERACT_REFUSED,   // an ERROR frame: value is its code, cli->err its text
    INTERACT_CLOSED,    // the other end went away
    INTERACT_DETACHED,  // by the detach key, or by a signal that ends this side (value, else 0)
    INTERACT_FAILED     // cli->err says why: no frame, or the output cannot be written
};

struct interact {
    struct cli *cli;
    struct channel *channel;
    const char *what; // for messages
    bool input;       // standard input is forwarded
    bool terminal;    // its size is: RESIZE frames
    bool signals;     // they are forwarded; else they detach
    bool started;     // frames may be sent: a console's at once, a command's after STARTED
    int detach_key;   // a byte, -1: none
};

// Runs it to its end. *ret_value: see above.
enum interact_end interact_run(struct interact *i, int *ret_value);
