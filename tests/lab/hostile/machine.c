// Owns the hostile guest's instructions that reach its machine: MMIO, ports, the serial line; and wild ones.
// Called by all its files.
#include "guest.h"

#define SERIAL_PORT  0x3f8u
#define SERIAL_LCR   3u
#define SERIAL_MCR   4u
#define SERIAL_IER   1u
#define CMD_LINE_PTR 0x228u // in the boot parameters

static const char *cmdline;
static uint64_t drawn = 0x2545f4914f6cdd1dull;

void guest_main(const uint8_t *params);
void run(void);
void *memset(void *to, int value, size_t n);
void *memcpy(void *to, const void *from, size_t n);

// The compiler's own words for them.
void *memset(void *to, int value, size_t n)
{
    void *at = to;
    __asm__ volatile("rep stosb" : "+D"(at), "+c"(n) : "a"(value) : "memory");
    return to;
}

void *memcpy(void *to, const void *from, size_t n)
{
    void *at = to;
    __asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(n) : : "memory");
    return to;
}

uint32_t mmio_read(uint64_t gpa)
{
    uint32_t value;
    __asm__ volatile("movl (%1), %0" : "=r"(value) : "r"(gpa) : "memory");
    return value;
}

void mmio_write(uint64_t gpa, uint32_t value)
{
    __asm__ volatile("movl %0, (%1)" : : "r"(value), "r"(gpa) : "memory");
}

void port_write(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "d"(port));
}

void print(const char *text)
{
    for (; *text; text++)
        port_write(SERIAL_PORT, (uint8_t)*text);
}

void print_number(uint64_t n)
{
    char text[21];
    size_t at = sizeof text - 1;
    text[at] = '\0';
    do
        text[--at] = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    print(text + at);
}

bool told(const char *word)
{
    for (const char *at = cmdline; *at; at++) {
        size_t i = 0;
        while (word[i] && at[i] == word[i])
            i++;
        if (!word[i])
            return true;
    }
    return false;
}

uint32_t draw(void)
{
    drawn ^= drawn << 13;
    drawn ^= drawn >> 7;
    drawn ^= drawn << 17;
    return (uint32_t)(drawn >> 16);
}

static void touch_port(uint16_t port)
{
    uint32_t ignored;
    // A value that asks for nothing at the ports for power and reset.
    __asm__ volatile("outb %b0, %w1" : : "a"(0xa5), "d"(port));
    __asm__ volatile("inb %w1, %b0" : "=a"(ignored) : "d"(port));
    __asm__ volatile("outw %w0, %w1" : : "a"(0xa5a5), "d"(port));
    __asm__ volatile("inl %w1, %0" : "=a"(ignored) : "d"(port));
}

// Every port where a PC has something, a sample of the others, and strings of bytes.
void wild_ports(void)
{
    for (uint32_t port = 0; port < 65536; port += port < 0xd00 ? 1 : 1021)
        touch_port((uint16_t)port);
    for (unsigned i = 0; i < 4; i++) {
        const uint8_t *from = buffer;
        uint8_t *to = buffer;
        uint64_t n = BUFFER_BYTES / 8;
        __asm__ volatile("rep outsb" : "+S"(from), "+c"(n) : "d"(0x80) : "memory");
        n = BUFFER_BYTES / 8;
        __asm__ volatile("rep insb" : "+D"(to), "+c"(n) : "d"(0x80) : "memory");
    }
    port_write(SERIAL_PORT + SERIAL_LCR, 3);
    port_write(SERIAL_PORT + SERIAL_MCR, 3);
    port_write(SERIAL_PORT + SERIAL_IER, 0);
}

// What is neither memory nor a device reads as all ones and takes what is written.
void wild_memory(void)
{
    static const uint64_t places[] = {MEMORY_BYTES, MEMORY_BYTES + 4093, HOLE_GPA,      HOLE_GPA - 2,
                                      MMIO_GPA - 4, MMIO_GPA + 0x40000u, 0xe0000000ull, HIGH_GPA - 8};
    unsigned wrong = 0;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        mmio_write(places[i], 0x5a5a5a5a);
        wrong += mmio_read(places[i]) != 0xffffffffu;
    }
    n_attacks += sizeof places / sizeof places[0];
    n_failed += wrong;
    if (wrong > 0)
        print("FAIL: memory that is not there is\n");
}

void guest_main(const uint8_t *params)
{
    cmdline = (const char *)(uint64_t) * (const uint32_t *)(const void *)(params + CMD_LINE_PTR);
    run();
}
