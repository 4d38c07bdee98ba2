// The policy's text to rules: line by line, column by column, total. Called by policy.c; decides nothing.
// The grammar is in policy.h. Whatever is not in it is refused with its position, for a rule that is silently
// ignored is a hole.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mediate/policy_internal.h"

#define SHOWN_MAX 64 // bytes of the offending word in an error

// A word of a line. Empty at the end of the line: len 0, text where it ends.
struct word {
    const char *text;
    size_t len;
};

struct parser {
    struct policy *policy;
    uint32_t source;
    uint32_t line;
    const char *line_text, *line_end; // line_end: where the comment begins or the line ends
    const char *cursor;
    struct policy_fault *fault;
    struct err *err;
};

// Refuses the text at `at`, which lies in the current line.
static int refuse(struct parser *p, const char *at, const char *what)
{
    uint32_t column = (uint32_t)(at - p->line_text) + 1;
    if (p->fault)
        *p->fault = (struct policy_fault){.source = p->source, .line = p->line, .column = column};
    return err_set(p->err, -EINVAL, "%s:%u:%u: %s", p->policy->file_names[p->source], p->line, column, what);
}

// The same about a word, quoted: "what 'word' …"; what has one %s.
__attribute__((format(printf, 3, 0))) static int refuse_word(struct parser *p, struct word w,
                                                             const char *what)
{
    char shown[SHOWN_MAX + 4];
    size_t n = w.len < SHOWN_MAX ? w.len : SHOWN_MAX;
    for (size_t i = 0; i < n; i++)
        shown[i] = w.text[i] > ' ' && w.text[i] < 0x7f ? w.text[i] : '?';
    snprintf(shown + n, sizeof shown - n, "%s", w.len > SHOWN_MAX ? "..." : "");
    char text[ERR_TEXT_CAP];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral" // checked by the attribute at every call
    snprintf(text, sizeof text, what, shown);
#pragma GCC diagnostic pop
    return refuse(p, w.text, text);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct word next_word(struct parser *p)
{
    while (p->cursor < p->line_end && is_blank(*p->cursor))
        p->cursor++;
    struct word w = {.text = p->cursor};
    while (p->cursor < p->line_end && !is_blank(*p->cursor))
        p->cursor++;
    w.len = (size_t)(p->cursor - w.text);
    return w;
}

static bool word_is(struct word w, const char *s)
{
    return w.len == strlen(s) && memcmp(w.text, s, w.len) == 0;
}

static struct pattern pattern_any(void)
{
    return (struct pattern){.text = "*", .len = 1, .class = PATTERN_ANY};
}

static struct pattern pattern_of(struct word w, enum pattern_class class)
{
    return (struct pattern){.text = w.text, .len = (uint16_t)w.len, .class = class};
}

static int parse_subject(struct parser *p, struct word w, struct rule *rule)
{
    if (word_is(w, "*")) {
        rule->subject = pattern_any();
        return 0;
    }
    bool below = w.len > 2 && memcmp(w.text + w.len - 2, ".*", 2) == 0;
    if (!subject_valid(w.text, below ? w.len - 2 : w.len))
        return refuse_word(p, w,
                           "'%s' is no subject; accepted: a subject such as db.query, everything below one "
                           "such as deploy.*, or *");
    rule->subject = pattern_of(w, below ? PATTERN_BELOW : PATTERN_EXACT);
    return 0;
}

// "@key=value" after the slash.
static int parse_label(struct parser *p, struct word w, struct word rest, struct pattern *ret)
{
    const char *equals = memchr(rest.text, '=', rest.len);
    if (!equals)
        return refuse_word(p, w, "'%s' selects by a label but has no '='; accepted: TENANT/@LABEL=VALUE");
    size_t key_len = (size_t)(equals - rest.text) - 1;
    if (!mediate_label_key_valid(rest.text + 1, key_len))
        return refuse_word(p, w,
                           "'%s' has no valid label before '='; accepted: a letter or digit, then letters, "
                           "digits and . _ / - up to 63");
    if (!mediate_label_value_valid(equals + 1, rest.len - key_len - 2))
        return refuse_word(p, w,
                           "'%s' has no valid label value; accepted: up to 252 bytes without control "
                           "characters");
    ret->key_len = (uint8_t)key_len;
    return 0;
}

// A party with a real tenant before the slash.
static int parse_in_tenant(struct parser *p, struct word w, struct word tenant, struct word rest,
                           bool is_target, struct pattern *ret)
{
    if (!name_valid(tenant.text, tenant.len))
        return refuse_word(p, w,
                           "'%s' begins with what is no tenant's name; accepted: lower-case letters, digits "
                           "and inner dashes, up to 63, or *");
    ret->tenant_len = (uint8_t)tenant.len;
    if (word_is(rest, "*")) {
        ret->class = PATTERN_TENANT;
        return 0;
    }
    if (rest.len && rest.text[0] == '@') {
        ret->class = PATTERN_LABEL;
        return parse_label(p, w, rest, ret);
    }
    bool is_service = rest.len && rest.text[0] == ':';
    if (is_service && !is_target)
        return refuse_word(p, w,
                           "'%s' is a service, but a sender is an environment; accepted as source: "
                           "TENANT/NAME, TENANT/*, TENANT/@LABEL=VALUE, */@LABEL=VALUE, *");
    if (!name_valid(rest.text + is_service, rest.len - is_service))
        return refuse_word(p, w,
                           "'%s' has no valid name after the slash; accepted: lower-case letters, digits and "
                           "inner dashes, up to 63, or *");
    ret->class = is_service ? PATTERN_SERVICE : PATTERN_EXACT;
    return 0;
}

static int parse_party(struct parser *p, struct word w, bool is_target, struct pattern *ret)
{
    if (word_is(w, "*") || word_is(w, "*/*")) {
        *ret = pattern_any();
        return 0;
    }
    const char *slash = memchr(w.text, '/', w.len);
    if (!slash)
        return refuse_word(p, w,
                           is_target ? "'%s' names no tenant; accepted as target: TENANT/NAME, TENANT/*, "
                                       "TENANT/:SERVICE, TENANT/@LABEL=VALUE, */@LABEL=VALUE, *"
                                     : "'%s' names no tenant; accepted as source: TENANT/NAME, TENANT/*, "
                                       "TENANT/@LABEL=VALUE, */@LABEL=VALUE, *");
    struct word tenant = {w.text, (size_t)(slash - w.text)};
    struct word rest = {slash + 1, w.len - tenant.len - 1};
    *ret = pattern_of(w, PATTERN_LABEL_ANYWHERE);
    if (!word_is(tenant, "*"))
        return parse_in_tenant(p, w, tenant, rest, is_target, ret);
    if (rest.len == 0 || rest.text[0] != '@')
        return refuse_word(p, w,
                           "'%s' means every tenant, which goes only with a label or with everything; "
                           "accepted: */@LABEL=VALUE, */*");
    return parse_label(p, w, rest, ret);
}

static int parse_action(struct parser *p, struct word w, struct rule *rule)
{
    rule->allow = word_is(w, "allow");
    if (rule->allow || word_is(w, "deny"))
        return 0;
    return refuse_word(p, w, "'%s' is no action; accepted: allow, deny");
}

// A decimal number of 1 to 9 digits without sign or leading zero. Advances *s.
static bool parse_number(const char **s, const char *end, uint64_t *ret)
{
    const char *start = *s;
    uint64_t n = 0;
    while (*s < end && **s >= '0' && **s <= '9' && *s - start < 10)
        n = n * 10 + (uint64_t)(*(*s)++ - '0');
    size_t digits = (size_t)(*s - start);
    if (digits == 0 || digits > 9 || (digits > 1 && *start == '0'))
        return false;
    *ret = n;
    return true;
}

// What follows the '=' of a parameter, NULL-text when there is none.
typedef int parse_parameter(struct parser *p, struct word w, struct word value, struct rule *rule);

static int parse_kind(struct parser *p, struct word w, struct word value, struct rule *rule)
{
    const char *end = value.text + value.len;
    rule->kinds = 0;
    for (const char *s = value.text;; s++) {
        const char *comma = memchr(s, ',', (size_t)(end - s));
        struct word one = {s, (size_t)((comma ? comma : end) - s)};
        unsigned bit = word_is(one, "send")    ? 1u << MESSAGE_SEND
                       : word_is(one, "call")  ? 1u << MESSAGE_CALL
                       : word_is(one, "event") ? 1u << MESSAGE_EVENT
                                               : 0;
        if (!bit || (rule->kinds & bit))
            return refuse_word(
                p, w,
                "'%s' is no list of kinds; accepted: kind= with send, call or event, each once, "
                "parted by commas (a reply needs no rule)");
        rule->kinds |= (uint8_t)bit;
        if (!comma)
            return 0;
        s = comma;
    }
}

static int parse_image(struct parser *p, struct word w, struct word value, struct rule *rule)
{
    if (!mediate_image_valid(value.text, value.len))
        return refuse_word(p, w,
                           "'%s' is no image digest; accepted: image=sha256: and 64 lower-case hex digits");
    rule->image = pattern_of(value, PATTERN_EXACT);
    return 0;
}

static int parse_max_body(struct parser *p, struct word w, struct word value, struct rule *rule)
{
    const char *s = value.text, *end = value.text + value.len;
    uint64_t n = 0;
    bool ok = parse_number(&s, end, &n);
    struct word unit = {s, (size_t)(end - s)};
    unsigned shift = word_is(unit, "KiB") ? 10 : word_is(unit, "MiB") ? 20 : 0;
    if (!ok || (shift == 0 && unit.len) || n << shift > ENVELOPE_BODY_MAX)
        return refuse_word(p, w,
                           "'%s' is no size; accepted: max-body= with a number of bytes, N, NKiB or NMiB, at "
                           "most 16MiB");
    rule->max_body_bytes = n << shift;
    return 0;
}

static int parse_rate(struct parser *p, struct word w, struct word value, struct rule *rule)
{
    const char *s = value.text, *end = value.text + value.len;
    uint64_t n = 0;
    if (!parse_number(&s, end, &n) || n == 0 || n > POLICY_RATE_MAX ||
        !word_is((struct word){s, (size_t)(end - s)}, "/s"))
        return refuse_word(p, w, "'%s' is no rate; accepted: rate=N/s with N from 1 to 1000000");
    rule->rate_per_s = (uint32_t)n;
    return 0;
}

static int parse_burst(struct parser *p, struct word w, struct word value, struct rule *rule)
{
    const char *s = value.text, *end = value.text + value.len;
    uint64_t n = 0;
    if (!parse_number(&s, end, &n) || n == 0 || n > POLICY_RATE_MAX || s != end)
        return refuse_word(p, w, "'%s' is no burst; accepted: burst=N with N from 1 to 1000000");
    rule->burst = (uint32_t)n;
    return 0;
}

static int parse_notify(struct parser *p, struct word w, struct word value, struct rule *rule)
{
    if (value.text)
        return refuse_word(p, w, "'%s' has a value; accepted: notify");
    rule->notify = true;
    return 0;
}

enum parameter {
    PARAMETER_KIND,
    PARAMETER_IMAGE,
    PARAMETER_MAX_BODY,
    PARAMETER_RATE,
    PARAMETER_BURST,
    PARAMETER_NOTIFY
};

static const struct {
    const char *name;
    parse_parameter *parse;
    bool has_value;
    bool allow_only; // a limit means nothing on a rule that lets nothing pass
} parameters[] = {
    [PARAMETER_KIND] = {"kind", parse_kind, true, false},
    [PARAMETER_IMAGE] = {"image", parse_image, true, false},
    [PARAMETER_MAX_BODY] = {"max-body", parse_max_body, true, true},
    [PARAMETER_RATE] = {"rate", parse_rate, true, true},
    [PARAMETER_BURST] = {"burst", parse_burst, true, true},
    [PARAMETER_NOTIFY] = {"notify", parse_notify, false, false},
};

static int parse_parameter_word(struct parser *p, struct word w, struct rule *rule, unsigned *seen)
{
    const char *equals = memchr(w.text, '=', w.len);
    struct word name = {w.text, equals ? (size_t)(equals - w.text) : w.len};
    struct word value = {0};
    if (equals)
        value = (struct word){equals + 1, w.len - name.len - 1};
    for (size_t i = 0; i < sizeof parameters / sizeof parameters[0]; i++) {
        if (!word_is(name, parameters[i].name))
            continue;
        if (*seen & 1u << i)
            return refuse_word(p, w, "'%s' is given twice; accepted: each parameter once");
        if (parameters[i].allow_only && !rule->allow)
            return refuse_word(
                p, w,
                "'%s' limits what is allowed, but this rule denies; accepted after deny: kind=, "
                "image=, notify");
        if (parameters[i].has_value && !value.text)
            return refuse_word(p, w,
                               "'%s' has no value; accepted: kind=send|call|event, image=sha256:HEX, "
                               "max-body=SIZE, rate=N/s, burst=N");
        *seen |= 1u << i;
        return parameters[i].parse(p, w, value, rule);
    }
    return refuse_word(p, w,
                       "'%s' is no parameter; accepted: kind=, image=, max-body=, rate=, burst=, notify");
}

static int parse_parameters(struct parser *p, struct rule *rule)
{
    unsigned seen = 0;
    const char *burst_at = NULL;
    for (struct word w; (w = next_word(p)).len;) {
        int rc = parse_parameter_word(p, w, rule, &seen);
        if (rc < 0)
            return rc;
        if (rule->burst && !burst_at)
            burst_at = w.text;
    }
    if (rule->burst && !rule->rate_per_s)
        return refuse(p, burst_at, "burst without a rate; accepted: rate=N/s burst=M");
    if (rule->rate_per_s && !rule->burst)
        rule->burst = rule->rate_per_s;
    return 0;
}

static int parse_rule(struct parser *p, struct word subject, struct rule *rule)
{
    static const char *const missing[] = {"the source, the target and the action are missing",
                                          "the target and the action are missing", "the action is missing"};
    struct word columns[3];
    for (size_t i = 0; i < 3; i++) {
        columns[i] = next_word(p);
        if (columns[i].len == 0) {
            char text[ERR_TEXT_CAP];
            snprintf(text, sizeof text, "%s; accepted: subject source target action [parameters]",
                     missing[i]);
            return refuse(p, columns[i].text, text);
        }
    }
    int rc = parse_subject(p, subject, rule);
    if (rc == 0)
        rc = parse_party(p, columns[0], false, &rule->source);
    if (rc == 0)
        rc = parse_party(p, columns[1], true, &rule->target);
    if (rc == 0)
        rc = parse_action(p, columns[2], rule);
    if (rc == 0)
        rc = parse_parameters(p, rule);
    return rc;
}

// Only printable text and tabs: what an operator cannot see must not be able to change a rule's meaning.
static int check_characters(struct parser *p, const char *end)
{
    if (!wire_utf8_valid(p->line_text, (size_t)(end - p->line_text))) {
        const char *at = p->line_text;
        while (at < end && *at != '\0' && !((unsigned char)*at & 0x80))
            at++;
        return refuse(p, at, "the line is not UTF-8 text");
    }
    for (const char *s = p->line_text; s < end; s++)
        if (((unsigned char)*s < ' ' && *s != '\t') || *s == 0x7f)
            return refuse(p, s, "a control character; accepted: printable text, blanks and tabs");
    return 0;
}

static const char *find_comment(const char *s, const char *end)
{
    for (const char *start = s; s < end; s++)
        if (*s == '#' && (s == start || is_blank(s[-1])))
            return s;
    return end;
}

static int parse_line(struct parser *p, const char *end, size_t *n_allocated)
{
    if (end > p->line_text && end[-1] == '\r')
        end--;
    int rc = check_characters(p, end);
    if (rc < 0)
        return rc;
    p->line_end = find_comment(p->line_text, end);
    p->cursor = p->line_text;
    struct word subject = next_word(p);
    if (subject.len == 0)
        return 0;
    struct policy *policy = p->policy;
    if (policy->n_rules == POLICY_RULES_MAX)
        return refuse(p, subject.text, "too many rules; accepted: 100000");
    if (policy->n_rules == *n_allocated) {
        size_t n = *n_allocated ? *n_allocated * 2 : 16;
        struct rule *bigger = realloc(policy->rules, n * sizeof *bigger);
        if (!bigger)
            return err_errno(p->err, -ENOMEM, "policy of %u rules", policy->n_rules);
        policy->rules = bigger;
        *n_allocated = n;
    }
    struct rule rule = {.image = pattern_any(),
                        .line = p->line,
                        .source_file = p->source,
                        .max_body_bytes = UINT64_MAX,
                        .kinds = POLICY_KINDS_ALL,
                        .text = subject.text};
    rc = parse_rule(p, subject, &rule);
    if (rc < 0)
        return rc;
    while (p->line_end > rule.text && is_blank(p->line_end[-1]))
        p->line_end--;
    rule.len = (uint32_t)(p->line_end - rule.text);
    policy->rules[policy->n_rules++] = rule;
    return 0;
}

int policy_parse(struct policy *policy, uint32_t source, const char *text, size_t len, size_t *n_allocated,
                 struct policy_fault *fault, struct err *err)
{
    struct parser p = {.policy = policy, .source = source, .fault = fault, .err = err};
    const char *end = text + len;
    for (const char *s = text; s < end;) {
        const char *newline = memchr(s, '\n', (size_t)(end - s));
        p.line++;
        p.line_text = s;
        int rc = parse_line(&p, newline ? newline : end, n_allocated);
        if (rc < 0)
            return rc;
        s = newline ? newline + 1 : end;
    }
    return 0;
}
