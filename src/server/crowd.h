/* Connections that are too slow or too many. libevent closes one that is silent; a byte now and
 * then keeps it open for ever, so the whole of a request has a time limit too. */
#ifndef OCTET_SERVER_CROWD_H
#define OCTET_SERVER_CROWD_H

#include <event2/bufferevent.h>
#include <event2/listener.h>

/* Lets many connections wait at LISTENER until they are accepted, and turns them away where the
 * process may not open more. */
void crowd_listen(struct evconnlistener *listener);

/* Watches what arrives at CONNECTION, before it has a socket. */
void crowd_watch(struct bufferevent *connection);
/* A request has arrived whole. */
void crowd_arrived(evutil_socket_t fd);
/* Shuts sockets whose request is overdue at NOW (probe_seconds); libevent then closes them. Returns
 * how many. To be called about once a second. */
size_t crowd_sweep(double now);

#endif
