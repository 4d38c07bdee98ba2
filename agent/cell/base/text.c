// See text.h. Called by the log and by whoever fills a text field.
#include "base/text.h"

#include <stdbool.h>
#include <stdint.h>

struct sink {
    char *out;
    size_t cap, len;
};

static void put(struct sink *s, char c)
{
    if (s->len + 1 < s->cap)
        s->out[s->len++] = c;
}

static void put_string(struct sink *s, const char *t)
{
    for (t = t ? t : "(null)"; *t; t++)
        put(s, *t);
}

static void put_number(struct sink *s, uint64_t v, unsigned base)
{
    char digits[20];
    size_t n = 0;
    do {
        digits[n++] = "0123456789abcdef"[v % base];
        v /= base;
    } while (v);
    while (n)
        put(s, digits[--n]);
}

static void put_signed(struct sink *s, int64_t v)
{
    if (v < 0)
        put(s, '-');
    put_number(s, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, 10);
}

size_t text_vformat(char *out, size_t cap, const char *format, va_list ap)
{
    struct sink s = {out, cap, 0};
    for (const char *f = format; *f; f++) {
        if (*f != '%') {
            put(&s, *f);
            continue;
        }
        bool wide = false;
        for (f++; *f == 'l' || *f == 'z'; f++)
            wide = true;
        if (*f == 's')
            put_string(&s, va_arg(ap, const char *));
        else if (*f == 'c')
            put(&s, (char)va_arg(ap, int));
        else if (*f == 'd')
            put_signed(&s, wide ? va_arg(ap, int64_t) : va_arg(ap, int));
        else if (*f == 'u' || *f == 'x')
            put_number(&s, wide ? va_arg(ap, uint64_t) : va_arg(ap, unsigned), *f == 'x' ? 16 : 10);
        else
            put(&s, '%');
    }
    out[s.len] = 0;
    return s.len;
}

size_t text_format(char *out, size_t cap, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    size_t n = text_vformat(out, cap, format, ap);
    va_end(ap);
    return n;
}
