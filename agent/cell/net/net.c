// Glue between drivers/net.c and lwIP (NO_SYS: everything runs inside net_poll()). lwIP's cyclic timers are
// not scheduled: what they age (ARP entries, fragments) matters only when frames come, so the time that has
// passed is made up for then, and an idle cell is not woken every second.
#include "net/net.h"

#include "base/clock.h"
#include "base/kernel.h"
#include "base/random.h"
#include "base/string.h"
#include "drivers/net.h"

#include "lwip/etharp.h"
#include "lwip/init.h"
#include "lwip/ip4_frag.h"
#include "lwip/netif.h"
#include "lwip/pbuf.h"
#include "lwip/sys.h"
#include "netif/ethernet.h"

#define MTU           1500
#define TICKS_MAX     1200u // of a second each: longer gaps age everything anyway
#define FRAMES_A_POLL 64

static struct {
    struct netif netif;
    bool up;
    uint64_t ticked_ns;
} net;

_Static_assert(ARP_TMR_INTERVAL == 1000 && IP_TMR_INTERVAL == 1000, "tick() counts seconds");

static err_t send_frame(struct netif *netif, struct pbuf *p)
{
    (void)netif;
    uint8_t *frame = net_driver_frame(p->tot_len);
    if (!frame)
        return ERR_MEM; // the ring is full: a frame is lost, as on any wire
    pbuf_copy_partial(p, frame, p->tot_len, 0);
    net_driver_send(p->tot_len);
    return ERR_OK;
}

static err_t set_up_netif(struct netif *netif)
{
    netif->name[0] = 'e';
    netif->name[1] = 'n';
    netif->mtu = MTU;
    netif->hwaddr_len = 6;
    memcpy(netif->hwaddr, cell_boot()->mac, 6);
    netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_LINK_UP;
    netif->output = etharp_output;
    netif->linkoutput = send_frame;
    return ERR_OK;
}

static void start_stack(void)
{
    const struct cell_boot *boot = cell_boot();
    uint32_t host_bits = boot->prefix < 32 ? UINT32_MAX >> boot->prefix : 0;
    ip4_addr_t address = {lwip_htonl(boot->ipv4)}, gateway = {lwip_htonl(boot->gateway)};
    ip4_addr_t mask = {lwip_htonl(~host_bits)};
    lwip_init();
    if (!netif_add(&net.netif, &address, &mask, &gateway, NULL, set_up_netif, ethernet_input)) {
        kernel_log("net: the interface could not be set up");
        return;
    }
    netif_set_default(&net.netif);
    netif_set_up(&net.netif);
    net.ticked_ns = clock_monotonic_ns();
    net.up = true;
}

static void tick(void)
{
    uint64_t seconds = (clock_monotonic_ns() - net.ticked_ns) / NS_PER_SECOND;
    net.ticked_ns += seconds * NS_PER_SECOND;
    for (uint64_t i = 0; i < seconds && i < TICKS_MAX; i++) {
        etharp_tmr();
        ip_reass_tmr();
    }
}

static void receive(const uint8_t *frame, size_t len)
{
    struct pbuf *p = pbuf_alloc(PBUF_RAW, (u16_t)len, PBUF_RAM);
    if (!p)
        return;
    pbuf_take(p, frame, (u16_t)len);
    if (net.netif.input(p, &net.netif) != ERR_OK)
        pbuf_free(p);
}

void net_init(void)
{
    if (cell_boot()->ipv4)
        net_driver_init();
}

bool net_poll(void)
{
    const uint8_t *frame;
    size_t len;
    int n = 0;
    while (n < FRAMES_A_POLL && net_driver_receive(&frame, &len)) {
        if (!net.up)
            start_stack();
        if (n++ == 0 && net.up)
            tick();
        if (net.up)
            receive(frame, len);
        net_driver_return();
    }
    if (n)
        net_driver_flush();
    // What was left over is looked at in the next round.
    if (n == FRAMES_A_POLL)
        cell_shared()->pending = 1;
    return n != 0;
}

uint32_t net_random(void)
{
    uint32_t v;
    random_bytes(&v, sizeof v);
    return v;
}

uint32_t sys_now(void)
{
    return (uint32_t)(clock_monotonic_ns() / 1000000u);
}

void *net_calloc(size_t count, size_t size)
{
    size_t bytes;
    return __builtin_mul_overflow(count, size, &bytes) ? NULL : heap_alloc_zeroed(bytes);
}
