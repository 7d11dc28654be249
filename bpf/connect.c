/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * connect() that never leaves, from cgroup/connect4 and connect6 on the root of cgroup2: where there is no route, or another
 * program says no, a socket changes no state, and no tracepoint tells. These run in the calling process, just before the
 * kernel looks for a route.
 *
 * So an entry is made here, and TCP_SYN_SENT follows (tcp.c) unless the call fails. The next connect() on the socket or its
 * release finds that it has not, which costs what succeeds no event.
 *
 * A program here decides over every connect() of the machine. Each entry point calls code that returns nothing, then
 * returns the constant 1, "go on".
 */

#ifdef KERNEL_HAS_cgroup_common_func_proto /* Linux 6.1 and later; BCC 0.26 has no name for the helper */
#define GET_RETVAL_HELPER 186
static int (*get_retval)(void) = (void *)GET_RETVAL_HELPER;
#define IS_DENIED get_retval()
#define UNSENT_IF_NOT_DENIED UNSENT_NO_ROUTE
#else
#define IS_DENIED 0
#define UNSENT_IF_NOT_DENIED UNSENT_NO_ROUTE_OR_DENIED
#endif

/* A connect() that has failed, with the local end as far as the program has bound it. The entry is deleted first. */
static __always_inline void report_unsent(void *ctx, u64 key, struct socket_entry *entry, struct socket_record *record)
{
	void *sk = (void *)key;

	__builtin_memset(record, 0, SOCKET_RECORD_HEAD_BYTES);
	record->entry = *entry;
	sockets.delete(&key);
	if (count_unsent(&record->entry))
		return;
	/* inet_sport may still be that of a connection before */
	READ(record->entry.local_port, sk, OFFSET_sock_common_skc_num);
	if (record->entry.family == AF_INET)
		READ(*(u32 *)record->entry.local_address, sk, OFFSET_sock_common_skc_rcv_saddr);
	else
		READ(record->entry.local_address, sk, OFFSET_sock_common_skc_v6_rcv_saddr);
	record->time_ns = bpf_ktime_get_ns();
	record->socket = key;
	record->state = TCP_CLOSE;
	record->owned = 1;
	record->unsent = record->entry.flags & SOCKET_DENIED ? UNSENT_DENIED : UNSENT_IF_NOT_DENIED;
	record->closed = 1;
	spill_if_refused(tcp_events.perf_submit(ctx, record, SOCKET_RECORD_HEAD_BYTES), LOST_TCP_EVENTS, record,
			 SOCKET_RECORD_HEAD_BYTES);
}

/* The kernel's own sockets are nobody's, and Multipath TCP makes further subflows from a work queue. */
static __always_inline void observe_connect(struct bpf_sock_addr *ctx, u32 family)
{
	struct {
		struct bpf_sock *typed;
	} box = {};
	/* for the record of the earlier one, then for the entry: both, or a record of what is alive, would not fit on the stack */
	u64 room[SOCKET_RECORD_HEAD_BYTES / 8];
	struct socket_record *record = (void *)room;
	struct socket_entry *entry = &record->entry, *earlier;
	void *task, *sk = 0;
	u64 key;

	/* another family is refused right after this */
	if (ctx->type != SOCK_STREAM || ctx->protocol != IPPROTO_TCP || ctx->user_family != family)
		return;
	box.typed = ctx->sk;
	read_kernel(&sk, sizeof(sk), &box.typed);
	key = (u64)sk;
	earlier = sockets.lookup(&key);
	if (earlier && earlier->flags & SOCKET_UNSENT)
		report_unsent(ctx, key, earlier, record);
	__builtin_memset(entry, 0, sizeof(*entry));
	entry->netns = netns_of(sk, UNTYPED);
	task = (void *)bpf_get_current_task();
	if (!netns_in_scope(entry->netns) || is_kernel_thread(task))
		return;
	identify(&entry->owner, task);
	if (!process_in_scope(&entry->owner))
		return;
	entry->owner_certainty = OWNER_EXACT;
	entry->protocol = IPPROTO_TCP;
	entry->flags = SOCKET_OUTBOUND | SOCKET_UNSENT;
	if (IS_DENIED)
		entry->flags |= SOCKET_DENIED;
	entry->family = family;
	entry->remote_port = HOST_ORDER(ctx->user_port);
	if (family == AF_INET) {
		*(u32 *)entry->remote_address = ctx->user_ip4;
	} else {
		((u32 *)entry->remote_address)[0] = ctx->user_ip6[0];
		((u32 *)entry->remote_address)[1] = ctx->user_ip6[1];
		((u32 *)entry->remote_address)[2] = ctx->user_ip6[2];
		((u32 *)entry->remote_address)[3] = ctx->user_ip6[3];
	}
	entry->held_scan = control(SCAN);
	entry->seen_ns = entry->opened_ns = bpf_ktime_get_ns();
	/* over whatever stands there: the socket is locked, so that can only be of one whose end was missed */
	if (sockets.update(&key, entry))
		count_loss(SOCKETS_MAP_FULL, 1);
}

/*
 * Call this where an error is reported to a TCP socket. One that comes while the program is still in connect(), from a
 * firewall of this host or of a container beside it, only goes to the program (sk_err_soft), and the socket waits on
 * (tcp_v4_err() in net/ipv4/tcp_ipv4.c): when it is closed nothing is left of it. A later one ends the connection.
 */
static __always_inline void note_rejection(void *sk)
{
	struct socket_entry *entry;
	u32 owned = 0, error = 0;
	u64 key = (u64)sk;
	u8 state = 0;

	LOAD(state, sk, OFFSET_sock_common_skc_state);
	LOAD(owned, sk, OFFSET_sock_sk_lock_owned);
	LOAD(error, sk, OFFSET_sock_sk_err);
	if (state != TCP_SYN_SENT || !owned || error)
		return;
	entry = sockets.lookup(&key);
	if (entry)
		entry->flags |= SOCKET_REJECTED;
}

int connect4(struct bpf_sock_addr *ctx)
{
	observe_connect(ctx, AF_INET);
	return 1;
}

int connect6(struct bpf_sock_addr *ctx)
{
	observe_connect(ctx, AF_INET6);
	return 1;
}
