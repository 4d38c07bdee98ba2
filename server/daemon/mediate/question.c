// Names of reasons, and what labels and image digests may look like.
#include "mediate/question.h"

#include <string.h>

static const struct {
    const char *name;
    const char *text;
} reasons[MEDIATE_REASON_COUNT] = {
    [MEDIATE_REASON_RULE] = {"rule", "a rule decided"},
    [MEDIATE_REASON_NO_MATCH] = {"no-match", "no rule matched, and what no rule allows is denied"},
    [MEDIATE_REASON_NO_POLICY] = {"no-policy", "there is no policy yet, so everything is denied"},
    [MEDIATE_REASON_RULE_BODY] = {"rule-max-body", "the message is larger than the rule's max-body"},
    [MEDIATE_REASON_RULE_RATE] = {"rule-rate", "the rule's rate for this sender and receiver is used up"},
    [MEDIATE_REASON_LABELS] = {"labels", "an environment with more labels than can be judged is denied"},
    [MEDIATE_REASON_REPLY] = {"reply", "a reply to a permitted call needs no rule"},
    [MEDIATE_REASON_NO_CALL] = {"no-call",
                                "no call waits for this reply: it was answered or its time is over"},
    [MEDIATE_REASON_NO_TARGET] = {"no-target", "the receiver does not exist or nobody serves the service"},
    [MEDIATE_REASON_BODY_LIMIT] = {"body-limit", "the message is larger than this host takes"},
    [MEDIATE_REASON_RATE_LIMIT] = {"rate-limit", "the sender's message rate is used up"},
    [MEDIATE_REASON_CALL_LIMIT] = {"call-limit", "too many of the sender's calls wait for replies"},
    [MEDIATE_REASON_MAILBOX] = {"mailbox", "the receiver's mailbox is full"},
    [MEDIATE_REASON_EXPIRED] = {"expired", "the message's time is over"},
    [MEDIATE_REASON_ADDRESS] = {"address", "the message says something that cannot be"},
    [MEDIATE_REASON_LINK] = {"link", "the message broker did not confirm the message"},
    [MEDIATE_REASON_SENDER] = {"sender", "the message is not from who it says"},
    [MEDIATE_REASON_STALE] = {"stale", "the message is from an earlier life of its host"},
    [MEDIATE_REASON_MALFORMED] = {"malformed", "what came from the broker is no message"},
};

const char *mediate_reason_name(enum mediate_reason reason)
{
    return (unsigned)reason < MEDIATE_REASON_COUNT ? reasons[reason].name : "unknown";
}

const char *mediate_reason_text(enum mediate_reason reason)
{
    return (unsigned)reason < MEDIATE_REASON_COUNT ? reasons[reason].text : "unknown";
}

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool mediate_label_key_valid(const char *s, size_t len)
{
    if (len == 0 || len > MEDIATE_LABEL_KEY_MAX || !is_alnum(s[0]))
        return false;
    for (size_t i = 1; i < len; i++)
        if (!is_alnum(s[i]) && (s[i] == '\0' || !strchr("._/-", s[i])))
            return false;
    return true;
}

bool mediate_label_value_valid(const char *s, size_t len)
{
    if (len > MEDIATE_LABEL_VALUE_MAX || !wire_utf8_valid(s, len))
        return false;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)s[i] <= ' ' || s[i] == 0x7f)
            return false;
    return true;
}

bool mediate_image_valid(const char *s, size_t len)
{
    if (len != MEDIATE_IMAGE_LEN || memcmp(s, "sha256:", 7) != 0)
        return false;
    for (size_t i = 7; i < len; i++)
        if (!((s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f')))
            return false;
    return true;
}
