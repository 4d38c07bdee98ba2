// Owns what a terminal may be sent. Called by format.c, main and the verbs that print what guests wrote. C1
// matters too: to a terminal in UTF-8 mode c2 9b is as good an escape sequence as 1b 5b.
#include "harmless.h"

#include <stdbool.h>

static bool is_c0(unsigned char c)
{
    return c < 0x20 || c == 0x7f;
}

// The second byte of U+0080 to U+009F.
static bool is_c1_tail(unsigned char c)
{
    return c >= 0x80 && c <= 0x9f;
}

void harmless_text(char *text)
{
    for (; *text; text++) {
        if ((unsigned char)*text == 0xc2 && is_c1_tail((unsigned char)text[1]))
            text[0] = text[1] = ' ';
        else if (is_c0((unsigned char)*text))
            *text = ' ';
    }
}

void harmless_flush(struct harmless *state, FILE *out)
{
    if (state->lead)
        putc(state->lead, out);
    state->lead = 0;
}

void harmless_write(struct harmless *state, FILE *out, const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)data[i];
        if (state->lead && is_c1_tail(c)) {
            fprintf(out, "\\x%02x\\x%02x", state->lead, c);
            state->lead = 0;
            continue;
        }
        harmless_flush(state, out);
        if (c == 0xc2)
            state->lead = c;
        else if (is_c0(c) && c != '\n' && c != '\t')
            fprintf(out, "\\x%02x", c);
        else
            putc(c, out);
    }
}
