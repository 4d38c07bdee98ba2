// One valid encoding of every message, for the tests of round trips and truncation and for the fuzzers'
// seeds.
#pragma once

#include "proto/agent.h"
#include "proto/privctl.h"
#include "proto/session.h"
#include "proto/vmctl.h"

#define SAMPLE_CAP 65536

struct sample {
    const char *name;
    size_t len;
    uint8_t data[SAMPLE_CAP];
};

// Fills *ret with sample i; false when there are no more.
bool sample_envelope(size_t i, struct sample *ret);
bool sample_agent(size_t i, struct sample *ret); // a whole frame, header included
bool sample_session(size_t i, struct sample *ret); // a whole frame, header included
bool sample_privctl(size_t i, struct sample *ret);
bool sample_vmctl(size_t i, struct sample *ret);
bool sample_vmctl_config(size_t i, struct sample *ret);

struct wire_view view_of(const char *s);
