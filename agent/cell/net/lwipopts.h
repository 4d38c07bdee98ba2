// How lwIP is built for the cell kernel: ARP, IPv4 with reassembly, ICMP echo; no sockets yet, no threads,
// memory from the kernel heap.
#pragma once

#define NO_SYS                    1
#define SYS_LIGHTWEIGHT_PROT      0
#define LWIP_TIMERS               0 // net.c makes up for the time when frames come
#define MEM_LIBC_MALLOC           1
#define MEMP_MEM_MALLOC           1
#define mem_clib_malloc           heap_alloc
#define mem_clib_free             heap_free
#define mem_clib_calloc           net_calloc
#define MEM_ALIGNMENT             8
#define LWIP_NETCONN              0
#define LWIP_SOCKET               0
#define LWIP_TCP                  0
#define LWIP_UDP                  0
#define LWIP_RAW                  0
#define LWIP_IPV6                 0
#define LWIP_ARP                  1
#define LWIP_ICMP                 1
#define ARP_TABLE_SIZE            16
#define ARP_QUEUEING              0
#define IP_REASSEMBLY             1
#define IP_REASS_MAX_PBUFS        16
#define IP_FRAG                   1
#define LWIP_SINGLE_NETIF         1
#define LWIP_STATS                0
#define LWIP_NETIF_LOOPBACK       0
#define LWIP_HAVE_LOOPIF          0
#define LWIP_CHECKSUM_ON_COPY     0
#define PBUF_POOL_SIZE            4
#define LWIP_NETIF_TX_SINGLE_PBUF 0
