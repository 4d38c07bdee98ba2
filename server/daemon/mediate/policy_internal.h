// What the parts of the policy share: rules as parsed, and the index over them. Only policy*.c may include
// this.
#pragma once

#include <stdatomic.h>

#include "mediate/policy.h"

enum pattern_class {
    PATTERN_ANY = 0,            // *  */*  (subject: *)
    PATTERN_EXACT = 1,          // tenant/name  (subject: the whole)
    PATTERN_TENANT = 2,         // tenant/*
    PATTERN_SERVICE = 3,        // tenant/:service
    PATTERN_LABEL = 4,          // tenant/@key=value
    PATTERN_LABEL_ANYWHERE = 5, // */@key=value
    PATTERN_BELOW = 6,          // subject: prefix.*
};

// A column as written, except that "*/*" is written "*". Views into the policy's text; offsets instead of
// pointers would save little and read worse.
struct pattern {
    const char *text;
    uint16_t len;
    uint8_t tenant_len; // of EXACT, TENANT, SERVICE, LABEL; 0 otherwise
    uint8_t key_len;    // of LABEL and LABEL_ANYWHERE
    enum pattern_class class;
};

struct rule {
    struct pattern subject, source, target;
    struct pattern image; // EXACT, or ANY when the rule has no such condition
    const char *text;     // the line
    uint32_t len;
    uint32_t line;
    uint32_t source_file;
    uint32_t rate_per_s, burst; // 0: none
    uint64_t max_body_bytes;    // UINT64_MAX: none
    uint8_t kinds;              // bits (1u << enum message_kind)
    bool allow;
    bool notify;
};

#define POLICY_KINDS_ALL (1u << MESSAGE_SEND | 1u << MESSAGE_CALL | 1u << MESSAGE_EVENT)

struct policy_index; // policy_index.c

struct policy {
    atomic_uint n_refs;
    uint64_t revision;
    char *text; // all files, one after the other
    char *file_names[POLICY_FILES_MAX];
    struct rule *rules;
    uint32_t n_rules;
    struct policy_index *index;
};

// policy_parse.c: appends the rules of one file (its text inside p->text). 0, -ENOMEM or -EINVAL.
int policy_parse(struct policy *p, uint32_t source, const char *text, size_t len, size_t *n_allocated,
                 struct policy_fault *fault, struct err *err);

// policy_index.c: built once, never changed. NULL: no memory.
struct policy_index *policy_index_new(const struct rule *rules, uint32_t n_rules);
void policy_index_free(struct policy_index *index);
// The first rule that matches q, or POLICY_RULE_NONE. q has at most MEDIATE_LABELS_MAX labels on each side
// and a valid subject.
uint32_t policy_index_first(const struct policy_index *index, const struct mediate_question *q);

// policy_match.c: one rule against one question, field by field; bits (1u << enum policy_field) of those that
// do not match, MAX_BODY excepted, which is a limit and no condition.
unsigned rule_mismatch(const struct rule *rule, const struct mediate_question *q);
