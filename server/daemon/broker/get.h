// Taking messages from a queue one by one, without consuming, for listing and replaying dead letters; and
// counting what is in one. Called by link.c, on the thread.
#pragma once

#include "broker/conn.h"
#include "broker/item.h"

struct getter {
    struct get *current; // NULL: none
    uint32_t left;
    bool asked; // basic.get is out
    struct item_queue *out;
    struct item_queue counts; // to be asked for
    struct count *counting;   // asked for; then nothing is got: a queue that is not there closes the channel
};

// g becomes the getter's. There is none under way.
void getter_start(struct getter *g, struct get *get);
int getter_pump(struct getter *g, struct conn *c, struct failure *ret); // 0, or -1 with the failure
void getter_got(struct getter *g);                                      // one message came
void getter_end(struct getter *g, const char *why); // "": it is whole. Nothing when none is under way

void getter_count(struct getter *g, struct count *c);
void getter_counted(struct getter *g, uint32_t messages);
bool getter_counts_end(struct getter *g, bool all, const char *why); // false: none is asked for
