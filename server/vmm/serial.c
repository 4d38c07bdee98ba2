// Owns the registers of the serial port. The transmitter is always empty: a byte is out when the write
// returns.
#include "serial.h"

enum serial_register { DATA, IER, IIR, LCR, MCR, LSR, MSR, SCR };

#define IER_RECEIVED 0x01u
#define IER_SENT     0x02u
#define IER_ALL      0x0fu
#define IIR_NONE     0x01u // no interrupt pending
#define IIR_SENT     0x02u
#define IIR_RECEIVED 0x04u
#define IIR_FIFO     0xc0u
#define FCR_ENABLE   0x01u
#define LCR_DLAB     0x80u // offsets 0 and 1 are the divisor
#define MCR_DTR      0x01u
#define MCR_RTS      0x02u
#define MCR_OUT1     0x04u
#define MCR_OUT2     0x08u // on a PC it gates the interrupt line
#define MCR_LOOP     0x10u
#define MCR_ALL      0x1fu
#define LSR_RECEIVED 0x01u
#define LSR_EMPTY    0x60u // holding and shift register
#define MSR_CTS      0x10u
#define MSR_DSR      0x20u
#define MSR_RI       0x40u
#define MSR_DCD      0x80u

void serial_init(struct serial *s, const struct serial_ops *ops, void *arg)
{
    *s = (struct serial){.ops = ops, .arg = arg, .dll = 1};
}

static uint8_t pending(const struct serial *s)
{
    if (s->received && (s->ier & IER_RECEIVED))
        return IIR_RECEIVED;
    return s->sent && (s->ier & IER_SENT) ? IIR_SENT : IIR_NONE;
}

// The last thing of every access: the only place that moves the line.
static void update_line(struct serial *s)
{
    const bool gated = (s->mcr & MCR_OUT2) && !(s->mcr & MCR_LOOP);
    const bool raised = gated && pending(s) != IIR_NONE;
    if (raised == s->raised)
        return;
    s->raised = raised;
    s->ops->line(s->arg, raised);
}

// In loop-back mode the modem control outputs come back as inputs: Linux looks for a port that way.
static uint8_t modem_status(const struct serial *s)
{
    if (!(s->mcr & MCR_LOOP))
        return MSR_CTS | MSR_DSR | MSR_DCD;
    return (uint8_t)((s->mcr & MCR_RTS ? MSR_CTS : 0) | (s->mcr & MCR_DTR ? MSR_DSR : 0) |
                     (s->mcr & MCR_OUT1 ? MSR_RI : 0) | (s->mcr & MCR_OUT2 ? MSR_DCD : 0));
}

static uint8_t read_data(struct serial *s)
{
    s->received = false;
    return s->rbr;
}

static uint8_t read_iir(struct serial *s)
{
    const uint8_t iir = pending(s);
    if (iir == IIR_SENT)
        s->sent = false; // reading it is what acknowledges it
    return iir | (s->fifo ? IIR_FIFO : 0);
}

uint8_t serial_read(struct serial *s, unsigned offset)
{
    const bool divisor = s->lcr & LCR_DLAB;
    uint8_t value = 0xff;
    switch ((enum serial_register)offset) {
    case DATA:
        value = divisor ? s->dll : read_data(s);
        break;
    case IER:
        value = divisor ? s->dlm : s->ier;
        break;
    case IIR:
        value = read_iir(s);
        break;
    case LCR:
        value = s->lcr;
        break;
    case MCR:
        value = s->mcr;
        break;
    case LSR:
        value = LSR_EMPTY | (s->received ? LSR_RECEIVED : 0);
        break;
    case MSR:
        value = modem_status(s);
        break;
    case SCR:
        value = s->scr;
        break;
    }
    update_line(s);
    return value;
}

static void write_data(struct serial *s, uint8_t value)
{
    if (s->mcr & MCR_LOOP) {
        s->rbr = value;
        s->received = true;
    } else {
        s->ops->output(s->arg, value);
    }
    // The line falls and rises again: an edge-triggered controller would miss the next one otherwise. With
    // the FIFO on it does so for the first byte of those that one interrupt is answered with: the others
    // would only cost time.
    s->sent = s->sent && s->fifo;
    update_line(s);
    s->sent = true;
}

// Enabling the "transmitter empty" interrupt raises it at once when the transmitter is empty: Linux starts to
// send that way, and tests for it.
static void write_ier(struct serial *s, uint8_t value)
{
    if ((value & IER_SENT) && !(s->ier & IER_SENT))
        s->sent = true;
    s->ier = value & IER_ALL;
}

void serial_write(struct serial *s, unsigned offset, uint8_t untrusted_value)
{
    const bool divisor = s->lcr & LCR_DLAB;
    switch ((enum serial_register)offset) {
    case DATA:
        if (divisor)
            s->dll = untrusted_value;
        else
            write_data(s, untrusted_value);
        break;
    case IER:
        if (divisor)
            s->dlm = untrusted_value;
        else
            write_ier(s, untrusted_value);
        break;
    case LCR:
        s->lcr = untrusted_value;
        break;
    case MCR:
        s->mcr = untrusted_value & MCR_ALL;
        break;
    case SCR:
        s->scr = untrusted_value;
        break;
    case IIR: // FIFO control. What is sent never stays in it.
        s->fifo = untrusted_value & FCR_ENABLE;
        break;
    case LSR:
    case MSR:
        break;
    }
    update_line(s);
}
