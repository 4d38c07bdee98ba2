// Owns the lines about a vCPU's registers and events. Called by linux_vcpu and machine_linux; all it reads is
// the guest's and may be nonsense, so it is only ever printed as numbers.
#include "vcpu_state.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "common/checked.h"

#define RESET_RIP 0xfff0u
#define RESET_CS  0xf000u

void vcpu_state_read(const struct kvm_vcpu *vcpu, struct vcpu_state *ret)
{
    *ret = (struct vcpu_state){.run = vcpu->run};
    ioctl(vcpu->fd, KVM_GET_REGS, &ret->regs);
    ioctl(vcpu->fd, KVM_GET_SREGS, &ret->sregs);
    ioctl(vcpu->fd, KVM_GET_VCPU_EVENTS, &ret->events);
}

bool vcpu_state_is_lost(const struct vcpu_state *s)
{
    return s->run->exit_reason == KVM_EXIT_SHUTDOWN && s->regs.rip == RESET_RIP &&
           s->sregs.cs.selector == RESET_CS;
}

struct line {
    char *text;
    size_t used;
};

__attribute__((format(printf, 2, 3))) static void add(struct line *line, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    const int n = vsnprintf(line->text + line->used, VCPU_STATE_LINE_MAX - line->used, format, ap);
    va_end(ap);
    line->used += n > 0 ? (size_t)n : 0;
    if (line->used >= VCPU_STATE_LINE_MAX)
        line->used = VCPU_STATE_LINE_MAX - 1;
}

static struct line begin(char text[VCPU_STATE_LINE_MAX], unsigned index)
{
    struct line line = {.text = text};
    add(&line, "vCPU %u:", index);
    return line;
}

static void add_numbers(struct line *line, const char *const names[], const uint64_t values[], size_t n)
{
    for (size_t i = 0; i < n; i++)
        add(line, "%s %s 0x%llx", i > 0 ? "," : "", names[i], (unsigned long long)values[i]);
}

static void describe_registers(struct line *line, const struct kvm_regs *r, const struct kvm_sregs *s)
{
    static const char *const names[] = {"rip", "cs", "rsp", "rflags", "rax", "rdi"};
    const uint64_t values[] = {r->rip, s->cs.selector, r->rsp, r->rflags, r->rax, r->rdi};
    add_numbers(line, names, values, ARRAY_LEN(names));
}

static void describe_control(struct line *line, const struct kvm_sregs *s)
{
    static const char *const names[] = {"cr0", "cr2", "cr3", "cr4", "efer", "idt", "gs"};
    const uint64_t values[] = {s->cr0, s->cr2, s->cr3, s->cr4, s->efer, s->idt.base, s->gs.base};
    add_numbers(line, names, values, ARRAY_LEN(names));
}

// What was on its way into the guest: a fault while one is delivered is how a guest gets to a double fault
// and beyond.
static void describe_events(struct line *line, const struct kvm_vcpu_events *e)
{
    const size_t empty = line->used;
    if (e->exception.injected || e->exception.pending)
        add(line, " exception %u %s,", e->exception.nr, e->exception.injected ? "injected" : "pending");
    if ((e->exception.injected || e->exception.pending) && e->exception.has_error_code)
        add(line, " with error code 0x%x,", e->exception.error_code);
    if (e->interrupt.injected)
        add(line, " %s interrupt %u injected,", e->interrupt.soft ? "software" : "hardware", e->interrupt.nr);
    if (e->interrupt.shadow)
        add(line, " in an interrupt shadow,");
    if (e->nmi.injected || e->nmi.pending || e->nmi.masked)
        add(line, " NMI%s%s%s,", e->nmi.injected ? " injected" : "", e->nmi.pending ? " pending" : "",
            e->nmi.masked ? " masked" : "");
    if (line->used == empty)
        add(line, " no events");
    else
        line->text[--line->used] = 0;
}

// KVM's own words on what it could not do; their meaning is each suberror's.
static void describe_internal(struct line *line, const struct kvm_run *run)
{
    const size_t n = run->internal.ndata < ARRAY_LEN(run->internal.data) ? run->internal.ndata
                                                                         : ARRAY_LEN(run->internal.data);
    add(line, " KVM internal error %u, data", run->internal.suberror);
    for (size_t i = 0; i < n; i++)
        add(line, " 0x%llx", (unsigned long long)run->internal.data[i]);
}

unsigned vcpu_state_describe(const struct vcpu_state *s, unsigned index,
                             char ret_lines[VCPU_STATE_LINES][VCPU_STATE_LINE_MAX])
{
    unsigned n = 0;
    struct line line = begin(ret_lines[n++], index);
    if (vcpu_state_is_lost(s)) {
        add(&line, " triple fault (this CPU keeps no registers of it)");
        return n;
    }
    describe_registers(&line, &s->regs, &s->sregs);
    line = begin(ret_lines[n++], index);
    describe_control(&line, &s->sregs);
    line = begin(ret_lines[n++], index);
    describe_events(&line, &s->events);
    if (s->run->exit_reason == KVM_EXIT_INTERNAL_ERROR) {
        line = begin(ret_lines[n++], index);
        describe_internal(&line, s->run);
    }
    return n;
}
