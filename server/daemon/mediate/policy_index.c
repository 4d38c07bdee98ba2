// Deciding in a time that does not grow with the number of rules. Called by policy.c.
//
// Each column of a rule is one pattern, and a question can be matched by only a few patterns of each column:
// its sender by "*", "acme/*", "acme/web" and two per label, its subject by "*", itself and one per dot. So:
//
//   columns  per column, a pattern's hash -> a small number (policy_hash.h)
//   pairs    (source, target) -> a number
//   keys     (pair, subject, image) -> per kind, the first rule with exactly these patterns
//
// A question looks up the patterns that would match it, most of which no rule has, then the pairs of those
// that are there, then the keys of the pairs that are, and takes the smallest rule number found. Patterns and
// pairs carry the smallest number of any rule that has them, so what cannot win is skipped, and so is a whole
// class of patterns, such as labels, that no rule uses in a column.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/siphash.h"
#include "mediate/policy_hash.h"
#include "mediate/policy_internal.h"

#define NONE           UINT32_MAX
#define CANDIDATES_MAX (4 + 2 * MEDIATE_LABELS_MAX)
_Static_assert(CANDIDATES_MAX >= SUBJECT_TOKENS + 2, "a valid subject has that many patterns at most");

enum column { COLUMN_SUBJECT, COLUMN_SOURCE, COLUMN_TARGET, COLUMN_IMAGE, COLUMN_COUNT };

struct pair {
    uint32_t source, target; // source NONE: a free slot
    uint32_t number;
    uint32_t first;
};

struct key {
    uint32_t pair, subject, image; // pair NONE: a free slot
    uint32_t first[3];             // by message kind: send, call, event
};

struct policy_index {
    uint64_t seed;
    struct pattern_table columns[COLUMN_COUNT];
    unsigned classes[COLUMN_COUNT]; // bits (1u << enum pattern_class) that some rule has there
    struct pair *pairs;
    struct key *keys;
    size_t pairs_mask, keys_mask; // slots - 1; powers of two
    uint32_t n_pairs;
};

// The hash of a pattern from its class and its parts' hashes, 0 for a part that the class does not have.
static uint64_t hash_pattern(const struct policy_index *index, enum pattern_class class, uint64_t a,
                             uint64_t b, uint64_t c)
{
    return hash_mix(hash_mix(hash_mix(index->seed + class, a), b), c);
}

// The same of a pattern as a rule has it: split where the question comes in parts.
static uint64_t hash_rule_pattern(const struct policy_index *index, const struct pattern *p, bool is_party)
{
    if (p->class == PATTERN_ANY)
        return hash_pattern(index, PATTERN_ANY, 0, 0, 0);
    if (!is_party) // "deploy.*" is known by "deploy."
        return hash_pattern(index, p->class,
                            hash_text(index->seed, p->text, p->len - (p->class == PATTERN_BELOW)), 0, 0);
    uint64_t tenant = hash_text(index->seed, p->text, p->tenant_len);
    const char *name = p->text + p->tenant_len + 1, *end = p->text + p->len;
    const char *key, *value;
    switch (p->class) {
    case PATTERN_TENANT:
        return hash_pattern(index, p->class, tenant, 0, 0);
    case PATTERN_SERVICE:
        name++;
        return hash_pattern(index, p->class, tenant, hash_text(index->seed, name, (size_t)(end - name)), 0);
    case PATTERN_LABEL:
    case PATTERN_LABEL_ANYWHERE:
        key = p->text + (p->class == PATTERN_LABEL ? p->tenant_len : 1) + 2; // after "/@"
        value = key + p->key_len + 1;
        return hash_pattern(index, p->class, p->class == PATTERN_LABEL ? tenant : 0,
                            hash_text(index->seed, key, p->key_len),
                            hash_text(index->seed, value, (size_t)(end - value)));
    default:
        return hash_pattern(index, p->class, tenant, hash_text(index->seed, name, (size_t)(end - name)), 0);
    }
}

static size_t hash_numbers(uint64_t a, uint64_t b)
{
    return (size_t)hash_mix(a * 0x9e3779b97f4a7c15, b * 0xc2b2ae3d27d4eb4f);
}

// The pair, or the free slot where it belongs. So does find_key().
static struct pair *find_pair(const struct policy_index *index, uint32_t source, uint32_t target)
{
    size_t i = hash_numbers(source, target) & index->pairs_mask;
    for (;; i = (i + 1) & index->pairs_mask) {
        struct pair *p = &index->pairs[i];
        if (p->source == NONE || (p->source == source && p->target == target))
            return p;
    }
}

static struct key *find_key(const struct policy_index *index, uint32_t pair, uint32_t subject, uint32_t image)
{
    size_t i = hash_numbers((uint64_t)pair << 32 | subject, image) & index->keys_mask;
    for (;; i = (i + 1) & index->keys_mask) {
        struct key *k = &index->keys[i];
        if (k->pair == NONE || (k->pair == pair && k->subject == subject && k->image == image))
            return k;
    }
}

static uint32_t add_pattern(struct policy_index *index, const struct pattern *p, enum column column,
                            uint32_t rule)
{
    bool is_party = column == COLUMN_SOURCE || column == COLUMN_TARGET;
    index->classes[column] |= 1u << p->class;
    return pattern_table_add(&index->columns[column], hash_rule_pattern(index, p, is_party), rule);
}

static int add_rule(struct policy_index *index, const struct rule *rule, uint32_t number)
{
    uint32_t subject = add_pattern(index, &rule->subject, COLUMN_SUBJECT, number);
    uint32_t source = add_pattern(index, &rule->source, COLUMN_SOURCE, number);
    uint32_t target = add_pattern(index, &rule->target, COLUMN_TARGET, number);
    uint32_t image = add_pattern(index, &rule->image, COLUMN_IMAGE, number);
    if (subject == NONE || source == NONE || target == NONE || image == NONE)
        return -ENOMEM;
    struct pair *p = find_pair(index, source, target);
    if (p->source == NONE)
        *p = (struct pair){source, target, index->n_pairs++, number};
    struct key *k = find_key(index, p->number, subject, image);
    if (k->pair == NONE)
        *k = (struct key){p->number, subject, image, {NONE, NONE, NONE}};
    static const enum message_kind kinds[3] = {MESSAGE_SEND, MESSAGE_CALL, MESSAGE_EVENT};
    for (size_t i = 0; i < 3; i++)
        if ((rule->kinds & 1u << kinds[i]) && k->first[i] == NONE)
            k->first[i] = number;
    return 0;
}

// A power of two of at least twice n: open addressing stays short.
static size_t slots_for(size_t n)
{
    size_t slots = 16;
    while (slots < 2 * n)
        slots *= 2;
    return slots;
}

struct policy_index *policy_index_new(const struct rule *rules, uint32_t n_rules)
{
    struct policy_index *index = calloc(1, sizeof *index);
    if (!index)
        return NULL;
    index->seed = siphash_key_random().k0;
    size_t n_slots = slots_for(n_rules);
    index->pairs = malloc(n_slots * sizeof *index->pairs);
    index->keys = malloc(n_slots * sizeof *index->keys);
    if (!index->pairs || !index->keys)
        goto fail;
    memset(index->pairs, 0xff, n_slots * sizeof *index->pairs); // every number NONE
    memset(index->keys, 0xff, n_slots * sizeof *index->keys);
    index->pairs_mask = index->keys_mask = n_slots - 1;
    for (size_t i = 0; i < COLUMN_COUNT; i++)
        if (pattern_table_init(&index->columns[i]) < 0)
            goto fail;
    for (uint32_t i = 0; i < n_rules; i++)
        if (add_rule(index, &rules[i], i) < 0)
            goto fail;
    return index;
fail:
    policy_index_free(index);
    return NULL;
}

void policy_index_free(struct policy_index *index)
{
    if (!index)
        return;
    for (size_t i = 0; i < COLUMN_COUNT; i++)
        pattern_table_done(&index->columns[i]);
    free(index->pairs);
    free(index->keys);
    free(index);
}

// The patterns of one column that match the question: first only their hashes, so that the memory of all of
// them is on its way before the first is looked at; then those that some rule has.
struct candidates {
    const struct policy_index *index;
    enum column column;
    size_t n;
    uint64_t hashes[CANDIDATES_MAX];
    struct {
        uint32_t number, first;
    } found[CANDIDATES_MAX];
};

static void start_candidates(struct candidates *c, const struct policy_index *index, enum column column)
{
    c->index = index;
    c->column = column;
    c->n = 0;
}

static bool has_class(const struct candidates *c, enum pattern_class class)
{
    return c->index->classes[c->column] & 1u << class;
}

static void add_candidate(struct candidates *c, enum pattern_class class, uint64_t part1, uint64_t part2,
                          uint64_t part3)
{
    if (!has_class(c, class))
        return;
    const struct pattern_table *table = &c->index->columns[c->column];
    uint64_t hash = hash_pattern(c->index, class, part1, part2, part3);
    __builtin_prefetch(&table->slots[hash & table->mask]);
    c->hashes[c->n++] = hash;
}

static void find_candidates(struct candidates *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++) {
        const struct pattern_slot *slot = pattern_table_find(&c->index->columns[c->column], c->hashes[i]);
        if (slot->number == PATTERN_UNKNOWN)
            continue;
        c->found[n].number = slot->number;
        c->found[n++].first = slot->first;
    }
    c->n = n;
}

static uint64_t hash_string(const struct candidates *c, const char *s)
{
    return hash_text(c->index->seed, s, strlen(s));
}

static void add_party(struct candidates *c, const struct mediate_party *party, const char *service)
{
    uint64_t tenant = hash_string(c, party->tenant);
    add_candidate(c, PATTERN_ANY, 0, 0, 0);
    add_candidate(c, PATTERN_TENANT, tenant, 0, 0);
    add_candidate(c, PATTERN_EXACT, tenant, hash_string(c, party->name), 0);
    if (service)
        add_candidate(c, PATTERN_SERVICE, tenant, hash_string(c, service), 0);
    if (!has_class(c, PATTERN_LABEL) && !has_class(c, PATTERN_LABEL_ANYWHERE))
        return;
    for (size_t i = 0; i < party->n_labels; i++) {
        uint64_t key = hash_string(c, party->labels[i].key), value = hash_string(c, party->labels[i].value);
        add_candidate(c, PATTERN_LABEL, tenant, key, value);
        add_candidate(c, PATTERN_LABEL_ANYWHERE, 0, key, value);
    }
}

static void add_subject(struct candidates *c, const char *subject)
{
    size_t len = strlen(subject);
    add_candidate(c, PATTERN_ANY, 0, 0, 0);
    add_candidate(c, PATTERN_EXACT, hash_text(c->index->seed, subject, len), 0, 0);
    if (!has_class(c, PATTERN_BELOW))
        return;
    for (size_t i = 0; i + 1 < len; i++)
        if (subject[i] == '.')
            add_candidate(c, PATTERN_BELOW, hash_text(c->index->seed, subject, i + 1), 0, 0);
}

struct search {
    const struct policy_index *index;
    struct candidates columns[COLUMN_COUNT];
    unsigned kind; // into struct key.first
    uint32_t best;
};

static void add_question(struct search *s, const struct mediate_question *q)
{
    for (size_t i = 0; i < COLUMN_COUNT; i++)
        start_candidates(&s->columns[i], s->index, (enum column)i);
    add_subject(&s->columns[COLUMN_SUBJECT], q->subject);
    add_party(&s->columns[COLUMN_SOURCE], &q->source, NULL);
    add_party(&s->columns[COLUMN_TARGET], &q->target, q->service);
    struct candidates *images = &s->columns[COLUMN_IMAGE];
    add_candidate(images, PATTERN_ANY, 0, 0, 0);
    if (q->image && has_class(images, PATTERN_EXACT))
        add_candidate(images, PATTERN_EXACT, hash_string(images, q->image), 0, 0);
}

static void search_pair(struct search *s, const struct pair *pair)
{
    const struct candidates *subjects = &s->columns[COLUMN_SUBJECT], *images = &s->columns[COLUMN_IMAGE];
    for (size_t i = 0; i < subjects->n; i++) {
        if (subjects->found[i].first >= s->best)
            continue;
        for (size_t j = 0; j < images->n; j++) {
            const struct key *k =
                find_key(s->index, pair->number, subjects->found[i].number, images->found[j].number);
            if (k->pair != NONE && k->first[s->kind] < s->best)
                s->best = k->first[s->kind];
        }
    }
}

uint32_t policy_index_first(const struct policy_index *index, const struct mediate_question *q)
{
    struct search s; // not zeroed: it is large, and add_question() begins every part that is read
    s.index = index;
    s.best = NONE;
    s.kind = q->kind == MESSAGE_SEND ? 0 : q->kind == MESSAGE_CALL ? 1 : 2;
    add_question(&s, q);
    for (size_t i = 0; i < COLUMN_COUNT; i++)
        find_candidates(&s.columns[i]);
    const struct candidates *sources = &s.columns[COLUMN_SOURCE], *targets = &s.columns[COLUMN_TARGET];
    for (size_t i = 0; i < sources->n; i++) {
        for (size_t j = 0; j < targets->n; j++) {
            if (sources->found[i].first >= s.best || targets->found[j].first >= s.best)
                continue;
            const struct pair *pair = find_pair(index, sources->found[i].number, targets->found[j].number);
            if (pair->source != NONE && pair->first < s.best)
                search_pair(&s, pair);
        }
    }
    return s.best == NONE ? POLICY_RULE_NONE : s.best;
}
