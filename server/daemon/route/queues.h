// What the link remembers of queues at the broker across restarts: for which environment of this host each is
// there (durable_queues.c), so that it goes when that environment was deleted, whenever the broker is there
// to hear of it. Called by remote/; one loop's thread.
#pragma once

struct router;

// It is there for that environment. Kept until router_queue_deleted(). -EIO and the like: it is not kept, and
// stays at the broker if envd ends between the environment's end and the broker's answer.
int router_keep_queue(struct router *r, const char *queue, const char *tenant, const char *name);
// The broker has deleted it. It is remembered further when there is such an environment again.
void router_queue_deleted(struct router *r, const char *queue);
