// The kernel's start, in order. Called once from entry.S; does not return: the program takes over.
#include "agent.h"
#include "base/kernel.h"
#include "base/random.h"
#include "boot/process.h"
#include "drivers/console.h"
#include "fs/tree.h"
#include "mem/heap.h"
#include "mem/pages.h"
#include "net/net.h"

// What boot/entry.S knows of struct cell_shared.
_Static_assert(offsetof(struct cell_shared, in_kernel) == 0x2c, "entry.S: IN_KERNEL");
_Static_assert(offsetof(struct cell_shared, syscall_rip) == 0x38, "entry.S: SYSCALL_RIP");
_Static_assert(offsetof(struct cell_shared, upcall) == 0x48, "entry.S: UPCALL_RIP");
_Static_assert(CELL_BOOT_GPA == 0xe000 && CELL_SHARED_GPA == 0xf000, "entry.S");
_Static_assert(CELL_KERNEL_GPA == 0x30000 && CELL_KERNEL_END == 0x1c0000, "cell.lds");

void kernel_main(const struct cell_boot *boot);

void kernel_main(const struct cell_boot *boot)
{
    cell_shared()->in_kernel = 1;
    if (boot->magic != CELL_BOOT_MAGIC || boot->version != CELL_VERSION)
        kernel_panic("the boot page is not one of version %d", CELL_VERSION);
    console_init();
    random_init(boot->random);
    pages_init(boot->heap_start, boot->heap_end);
    heap_init(pages_total() / 4);
    tree_init((const void *)(uintptr_t)boot->archive_gpa, boot->archive_bytes);
    net_init();
    agent_init();
    process_start();
}
