// Tells lab/linux_devices: console, balloon, vsock and rng of a real Linux guest. Prints a line per chapter
// and the figures it saw.
//
//   linux_devices_story ENVVM KERNEL INITRD
//
// The initrd ends in a shell on /dev/hvc0 and has guest.c as /bin/vsock.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/io.h"
#include "vm.h"

#define MEMORY_MIB 256u
#define OUT_CAP    65536u
#define MIB        (1ull << 20)

static struct vm vm;
static char out[OUT_CAP];
static unsigned passed;

static void pass(const char *what)
{
    printf("ok: %s\n", what);
    fflush(stdout);
    passed++;
}

static void shell(const char *command, unsigned timeout_s)
{
    vm_shell(&vm, command, out, sizeof out, timeout_s);
}

static void expect(const char *text)
{
    if (!strstr(out, text))
        vm_die(&vm, "not \"%s\" but: %s", text, out);
}

// A shell's command until its output has the text, or the end.
static void poll_shell(const char *command, const char *text, unsigned timeout_s)
{
    for (unsigned i = 0; i < timeout_s * 4; i++) {
        shell(command, 20);
        if (strstr(out, text))
            return;
        usleep(250000);
    }
    expect(text);
}

static void tell_console(void)
{
    shell("echo a b", 20);
    expect("a b");
    pass("what is typed is echoed and run");
}

// A line discipline takes 4 KiB at a time: the rest waits on our side.
static void tell_paste(void)
{
    enum { BYTES = 30000 };
    static char data[BYTES + 1];
    unsigned sum = 0; // as guest.c counts
    char expected[32];
    for (unsigned i = 0; i < BYTES; i++) {
        data[i] = (char)('a' + i * 7 % 26);
        sum = ((sum >> 1) + ((sum & 1) << 15) + (unsigned char)data[i]) & 0xffff;
    }
    snprintf(expected, sizeof expected, "sum %05u", sum);
    vm_type(&vm, "stty raw -echo; echo g$((1))o; vsock sum 30000; stty sane; echo e$((2))nd\n");
    vm_expect(&vm, "g1o", out, sizeof out, 20);
    vm_type(&vm, data);
    vm_expect(&vm, "e2nd", out, sizeof out, 60);
    expect(expected);
    pass("30,000 bytes typed at once arrive in order");
}

static void tell_flood(void)
{
    vm_type(&vm, "seq 1 2000; echo e$((3))nd\n");
    sleep(3); // nobody reads meanwhile, and the guest goes on
    vm_expect(&vm, "e3nd", out, sizeof out, 120);
    expect("\n2000\r");
    shell("echo still here", 120);
    expect("still here");
    vm_attach(&vm);
    shell("echo here again", 20);
    expect("here again");
    pass("a watcher that reads late sees it all; a new one takes over");
}

static void tell_window(void)
{
    vm_resize(&vm, 132, 43);
    poll_shell("stty size", "43 132", 10);
    vm_resize(&vm, 80, 25);
    poll_shell("stty size", "25 80", 10);
    pass("the window's size follows");
}

static void wait_for_rss(uint64_t below, unsigned timeout_s, const char *what)
{
    for (unsigned i = 0; i < timeout_s * 4; i++) {
        if (vm_stats(&vm).rss_bytes < below)
            return;
        usleep(250000);
    }
    vm_die(&vm, "%s: envvm's RSS stays at %llu MiB", what,
           (unsigned long long)(vm_stats(&vm).rss_bytes / MIB));
}

static void tell_reporting(void)
{
    const uint64_t before = vm_stats(&vm).rss_bytes;
    shell("dd if=/dev/zero of=/run/big bs=1M count=96 2>&1", 120);
    const uint64_t full = vm_stats(&vm).rss_bytes;
    if (full < before + 48 * MIB)
        vm_die(&vm, "96 MiB written and RSS only went from %llu to %llu MiB",
               (unsigned long long)(before / MIB), (unsigned long long)(full / MIB));
    shell("rm /run/big", 20);
    wait_for_rss(full - 64 * MIB, 60, "free-page reporting");
    printf("figure: rss MiB before %llu, with 96 MiB in use %llu, after %llu\n",
           (unsigned long long)(before / MIB), (unsigned long long)(full / MIB),
           (unsigned long long)(vm_stats(&vm).rss_bytes / MIB));
    pass("what the guest frees goes back to the host");
}

static void wait_for_balloon(uint64_t low, uint64_t high)
{
    uint64_t there = 0;
    for (unsigned i = 0; i < 240; i++) {
        there = vm_stats(&vm).balloon_bytes;
        if (there >= low && there <= high)
            return;
        usleep(250000);
    }
    vm_die(&vm, "the balloon has %llu MiB", (unsigned long long)(there / MIB));
}

static void tell_balloon(void)
{
    shell("dd if=/dev/zero of=/run/big bs=1M count=64 2>&1; rm /run/big", 120);
    vm_balloon(&vm, MEMORY_MIB - 96);
    wait_for_balloon(96 * MIB, 96 * MIB);
    shell("awk '/MemTotal|MemFree/' /proc/meminfo", 20);
    vm_balloon(&vm, MEMORY_MIB);
    wait_for_balloon(0, 0);
    shell("dd if=/dev/zero of=/run/big bs=1M count=96 2>&1; rm /run/big; echo $?", 120);
    expect("96+0 records out");
    pass("the balloon grows and shrinks with its target");
}

static void vsock(const char *job, unsigned timeout_s)
{
    char command[64];
    snprintf(command, sizeof command, "vsock %s", job);
    shell(command, timeout_s);
    char *line = strstr(out, " ok, ");
    if (!line || strstr(out, "FAIL"))
        vm_die(&vm, "vsock %s: %s", job, out);
    while (line > out && line[-1] != '\n')
        line--;
    printf("figure: vsock %.*s\n", (int)strcspn(line, "\r\n"), line);
}

static void tell_vsock(void)
{
    vsock("half 1", 30);
    vsock("refused 9", 30);
    vsock("ping 200", 60);
    pass("connections, half a close, and refusals");
    vsock("send 100", 240);
    vsock("recv 100", 240);
    pass("100 MiB each way, unchanged");
    vsock("churn 1000", 240);
    vsock("many 64", 120);
    pass("1,000 short connections, then 64 at once and no more");
    shell("vsock recv 100 >/run/bulk & vsock ping 100; wait; cat /run/bulk", 300);
    expect("ping 100 ok");
    expect("recv 100 ok");
    printf("figure: beside a bulk stream: %.*s\n", (int)strcspn(strstr(out, "longest"), "\r\n"),
           strstr(out, "longest"));
    pass("a bulk stream does not starve a small one");
}

static void tell_rng(void)
{
    shell("cat /sys/class/misc/hw_random/rng_current; dd if=/dev/hwrng bs=64 count=64 | wc -c", 60);
    expect("virtio_rng");
    expect("4096");
    pass("random numbers");
}

static void tell_dmesg(void)
{
    shell("dmesg | grep -iE 'virtio|balloon|vsock|hvc|rng' | grep -iE 'err|fail|warn|invalid|bug' ; echo "
          "none$?",
          20);
    expect("none1");
    shell("dmesg | grep -E -B 2 -A 25 'Call Trace|BUG:|rcu.*stall' && echo tra$((1))ces", 20);
    if (strstr(out, "tra1ces"))
        vm_die(&vm, "the guest's kernel complains: %s", out);
    pass("the guest's kernel has nothing to complain about");
}

int main(int argc, char **argv)
{
    static void (*const chapters[])(void) = {tell_console,   tell_window,  tell_paste,
                                             tell_rng,       tell_vsock,   tell_flood,
                                             tell_reporting, tell_balloon, tell_dmesg};
    if (argc != 4)
        return 2;
    const uint64_t start = io_monotonic_ns();
    vm_start(&vm, argv[1], argv[2], argv[3], MEMORY_MIB, 2);
    vm_attach(&vm);
    // What is typed before the shell has opened the console, its driver throws away.
    vm_expect(&vm, "/ # ", out, sizeof out, 180);
    printf("figure: a shell after %.1f s\n", (double)(io_monotonic_ns() - start) / 1e9);
    for (size_t i = 0; i < sizeof chapters / sizeof *chapters; i++)
        chapters[i]();
    vm_stop(&vm);
    printf("%u passed\n", passed);
    return 0;
}
