// Why an environment is in its state: the stable codes, and what to try for each. Called by env/ and the API.
#pragma once

#define REASON_CODE_CAP 48
#define REASON_TEXT_CAP 512

// Empty code: there is nothing to add to the state.
struct reason {
    char code[REASON_CODE_CAP];
    char text[REASON_TEXT_CAP];
};

__attribute__((format(printf, 3, 4))) void reason_set(struct reason *r, const char *code, const char *format,
                                                      ...);
void reason_clear(struct reason *r);
// The next thing to try; NULL for codes that are no trouble.
const char *reason_remedy(const char *code);
