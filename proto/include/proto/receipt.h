// What the host answers to a message: accepted, or one refusal. The codes are stable: they are the exit codes of
// `envctl send` too. Freestanding.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum receipt_code {
    RECEIPT_ACCEPTED = 0,
    RECEIPT_DENIED = 1,              // the policy says no
    RECEIPT_NO_SUCH_ENVIRONMENT = 2, // the receiver does not exist, or the sender may not know that it does
    RECEIPT_MAILBOX_FULL = 3,
    RECEIPT_TOO_LARGE = 4,
    RECEIPT_RATE_LIMITED = 5,
    RECEIPT_EXPIRED = 6, // also: a reply after the call's deadline, or a second reply
    RECEIPT_HOST_UNREACHABLE = 7,
    RECEIPT_UNKNOWN_OUTCOME = 8, // may or may not have been accepted: retry with the same id
    RECEIPT_INVALID = 9,         // the envelope is well-formed but says something that cannot be
    RECEIPT_CODE_COUNT
};

// "accepted", "denied", "no-such-environment", …: the same words in the API, the log and envctl.
const char *receipt_code_name(enum receipt_code code);
// The code of that name, of len bytes. False: there is none.
bool receipt_code_parse(const char *name, size_t len, enum receipt_code *ret);
// One sentence on what the sender can do about it.
const char *receipt_code_hint(enum receipt_code code);
// Exit code of envctl send and call: 0 when accepted, else 20 + code.
int receipt_exit_code(enum receipt_code code);
