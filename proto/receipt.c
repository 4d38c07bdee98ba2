// The words and exit codes of receipts (receipt.h): one table.
#include "proto/receipt.h"

#include <string.h>

struct receipt_text {
    const char *name;
    const char *hint;
};

static const struct receipt_text texts[RECEIPT_CODE_COUNT] = {
    [RECEIPT_ACCEPTED] = {"accepted", "The host has the message and will deliver it."},
    [RECEIPT_DENIED] = {"denied",
                        "The policy does not allow it: ask the operator, who can run 'envctl explain'."},
    [RECEIPT_NO_SUCH_ENVIRONMENT] =
        {"no-such-environment", "Check the address: name, tenant/name, or :service of a running server."},
    [RECEIPT_MAILBOX_FULL] = {"mailbox-full",
                              "The receiver is behind: wait and send again with the same id."},
    [RECEIPT_TOO_LARGE] = {"too-large", "Send a smaller body, or split it."},
    [RECEIPT_RATE_LIMITED] = {"rate-limited",
                              "Send less often: wait a little and send again with the same id."},
    [RECEIPT_EXPIRED] = {"expired", "The deadline has passed: send again with a later one."},
    [RECEIPT_HOST_UNREACHABLE] = {"host-unreachable",
                                  "Nothing was accepted: send again when the link is back."},
    [RECEIPT_UNKNOWN_OUTCOME] =
        {"unknown-outcome",
         "It may have been accepted: send again with the same id, duplicates are dropped."},
    [RECEIPT_INVALID] = {"invalid", "The message contradicts itself: correct it before sending again."},
};

const char *receipt_code_name(enum receipt_code code)
{
    return (unsigned)code < RECEIPT_CODE_COUNT ? texts[code].name : "unknown-code";
}

bool receipt_code_parse(const char *name, size_t len, enum receipt_code *ret)
{
    for (unsigned i = 0; i < RECEIPT_CODE_COUNT; i++) {
        if (strlen(texts[i].name) != len || memcmp(texts[i].name, name, len) != 0)
            continue;
        *ret = (enum receipt_code)i;
        return true;
    }
    return false;
}

const char *receipt_code_hint(enum receipt_code code)
{
    return (unsigned)code < RECEIPT_CODE_COUNT ? texts[code].hint : "The two sides speak different versions.";
}

int receipt_exit_code(enum receipt_code code)
{
    return code == RECEIPT_ACCEPTED ? 0 : 20 + (int)code;
}
