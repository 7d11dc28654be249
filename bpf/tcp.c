/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * TCP connections, from the raw tracepoint inet_sock_set_state: it fires on open, establish and close of every TCP
 * socket, needs no kprobe, and costs nothing per send or receive. One perf event per connection, when it ends.
 *
 * `current` is only the owner where sk_lock.owned says that a process holds the socket; elsewhere the transition comes
 * from a packet, and `current` is whoever was interrupted. On loopback that is the peer.
 */

#define SKC_TO_TCP_SOCK_HELPER 137 /* bpf_skc_to_tcp_sock: BCC 0.26 has no name for it */
static void *(*skc_to_tcp_sock)(void *sk) = (void *)SKC_TO_TCP_SOCK_HELPER;

/*
 * Whose subflow a kernel thread connects: a Multipath TCP connection gets more of them from a work queue. Their owner is that
 * of the first, which the program connected itself.
 */
static __always_inline void own_subflow(struct socket_entry *entry, void *sk)
{
#ifdef OFFSET_mptcp_sock_first
	struct socket_entry *first;
	void *subflow = 0, *connection = 0;
	u64 key = 0;
	u8 is_subflow = 0;

	READ(is_subflow, sk, OFFSET_tcp_sock_is_mptcp);
	if (!(is_subflow & MASK_tcp_sock_is_mptcp))
		return;
	READ(subflow, sk, OFFSET_inet_connection_sock_icsk_ulp_data);
	READ(connection, subflow, OFFSET_mptcp_subflow_context_conn);
	READ(key, connection, OFFSET_mptcp_sock_first);
	first = sockets.lookup(&key);
	if (first)
		own(entry, &first->owner, first->owner_certainty);
#endif
}

/*
 * The record of an end, or in it the entry of a beginning: it would take most of the stack. See descriptors_at_hand.
 */
struct records_at_hand {
	u64 taken;
	struct socket_record records[NESTED];
};
BPF_PERCPU_ARRAY(records_at_hand, struct records_at_hand, 1);

/* The socket as a plain address, to reckon with: a typed pointer becomes one on its way through a map. */
static __always_inline u64 plain_address(struct socket_record *record, void *sk)
{
	*(volatile u64 *)&record->socket = (u64)sk;
	return *(volatile u64 *)&record->socket;
}

static __always_inline void track_new(void *sk, u64 key, int new_state, struct process_id *self, struct socket_record *record)
{
	struct socket_entry *entry = &record->entry;
	int counted = 0;

	__builtin_memset(entry, 0, sizeof(*entry));
	entry->netns = netns_of(sk, TYPED);
	if (!netns_in_scope(entry->netns))
		return;
	entry->protocol = IPPROTO_TCP;
	entry->seen_ns = entry->opened_ns = bpf_ktime_get_ns();
	entry->held_scan = control(SCAN);
	if (self->pid)
		own(entry, self, OWNER_EXACT);
	if (new_state == TCP_SYN_SENT || new_state == TCP_LISTEN) {
		if (is_kernel_thread((void *)bpf_get_current_task()))
			own_subflow(entry, sk);
		else /* connect.c found no room for it either */
			counted = new_state == TCP_SYN_SENT;
		if (!process_in_scope(&entry->owner))
			return;
		entry->flags = SOCKET_OUTBOUND;
		if (new_state == TCP_LISTEN) {
			entry->flags = SOCKET_LISTENER;
			entry->kept_dropped = read_dropped(sk); /* when it listened before */
		}
	} else {
		entry->flags = SOCKET_INBOUND;
		if (new_state == TCP_ESTABLISHED)
			entry->established_ns = entry->opened_ns;
		else
			entry->closing_ns = entry->opened_ns;
	}
	/* over whatever stands there: the socket is locked, so that can only be of one whose end was missed */
	if (sockets.update(&key, entry)) {
		if (!counted)
			count_loss(SOCKETS_MAP_FULL, 1);
		return;
	}
	if (entry->flags & SOCKET_OUTBOUND)
		claim_turns_outbound(plain_address(record, sk), entry->seen_ns);
	else if (new_state == TCP_ESTABLISHED)
		claim_turns_inbound(plain_address(record, sk), entry->seen_ns);
}

/*
 * TCP_SYN_SENT of a connect() whose entry has just been made (connect.c). The local end has not been chosen yet, and the
 * connection is as old as its first segment.
 */
static __always_inline void begin_sending(void *sk, struct socket_entry *entry, struct socket_record *record)
{
	entry->flags &= ~(SOCKET_UNSENT | SOCKET_DENIED);
	entry->opened_ns = bpf_ktime_get_ns();
	claim_turns_outbound(plain_address(record, sk), entry->seen_ns);
}

/* Whether connect() found no free port: it has not sent, and the socket has never had both its ends, by which it is found. */
static __always_inline int found_no_port(void *sk, void *tcp)
{
	u32 segments = 0, hash = 0;

	LOAD(segments, tcp, OFFSET_tcp_sock_segs_out);
	LOAD(hash, sk, OFFSET_sock_common_skc_hash);
	return !segments && !hash;
}

static __always_inline void report_end(struct bpf_raw_tracepoint_args *ctx, void *sk, u64 key, u8 old_state,
				       struct socket_entry *entry, struct process_id *self, u8 certainty,
				       struct socket_record *record)
{
	void *tcp;

	__builtin_memset(record, 0, sizeof(*record));
	record->time_ns = bpf_ktime_get_ns();
	record->socket = plain_address(record, sk);
	if (entry) {
		record->entry = *entry;
		/* before the event, so that no pass reports a socket whose end has been read */
		sockets.delete(&key);
		give_turns_back(record);
	} else {
		if (old_state == TCP_LISTEN || old_state == TCP_NEW_SYN_RECV)
			return;
		if (old_state == TCP_SYN_RECV && !self->pid) /* never got through the handshake, and nobody accepted it */
			return;
		record->entry.netns = netns_of(sk, TYPED);
		if (!netns_in_scope(record->entry.netns))
			return;
		record->entry.protocol = IPPROTO_TCP;
		record->entry.seen_ns = record->time_ns;
		if (old_state == TCP_SYN_RECV) { /* Fast Open: accepted with its first segment, and reset before the handshake's end */
			record->entry.flags = SOCKET_INBOUND;
			record->entry.opened_ns = record->time_ns;
		} else { /* its beginning was missed: an orphan older than nettop, or the map was full then */
			record->entry.flags = SOCKET_OLD;
		}
	}
	if (self->pid)
		own(&record->entry, self, certainty);
	if (!owner_in_scope(&record->entry, 1))
		return;
	tcp = skc_to_tcp_sock(sk);
	if (!tcp)
		return;
	if (!record->entry.local_port)
		read_addresses(&record->entry, tcp, TYPED);
	record->state = old_state;
	record->closed = 1;
	LOAD(record->owned, sk, OFFSET_sock_sk_lock_owned);
	if (old_state == TCP_LISTEN)
		read_listener(record, sk, record->entry.kept_dropped);
	else
		read_tcp_counters(record, tcp, TYPED);
	if (old_state == TCP_SYN_SENT && record->owned && found_no_port(sk, tcp)) {
		record->unsent = UNSENT_NO_PORT;
		LOAD(record->entry.local_port, sk, OFFSET_sock_common_skc_num);
	}
	if (record->entry.flags & SOCKET_OLD && !entry) { /* how much of it passed while nettop ran is not known: none is counted rather than too much */
		record->entry.kept_tx_bytes = record->tx_bytes;
		record->entry.kept_rx_bytes = record->rx_bytes;
		record->tx_packets = record->rx_packets = 0;
	}
	remember_aborted(record);
	if (entry && count_connection(record))
		return;
	spill_if_refused(tcp_events.perf_submit(ctx, record, sizeof(*record)), LOST_TCP_EVENTS, record, sizeof(*record));
}

/*
 * Who causes an end while holding the socket's lock, and how sure it is that the socket is theirs. Nobody where that is the
 * owner, or where it need not be a holder: a kernel thread that closes for others, whoever ends sockets of others (ss -K).
 *
 * A process that closes a socket which somebody else owns was the last to hold it: its descriptor is gone from its table
 * by now. Which of the two has moved the bytes is not known. One that still holds it only shuts it down, and owns it if
 * nobody else has it.
 */
static __always_inline u8 find_closing(struct process_id *closing, void *sk, u64 key, struct socket_entry *entry)
{
	void *task = (void *)bpf_get_current_task();
	u32 pid = 0, error = 0;

	READ(pid, task, OFFSET_task_struct_tgid);
	if (entry && entry->owner_certainty == OWNER_EXACT && pid == entry->owner.pid)
		return OWNER_UNKNOWN;
	LOAD(error, sk, OFFSET_sock_sk_err);
	if (error == ECONNABORTED || is_kernel_thread(task))
		return OWNER_UNKNOWN;
	if (entry && entry->owner_certainty != OWNER_UNKNOWN && pid != entry->owner.pid) {
		int held = holds(task, (void *)key);

		if (held == HOLDS_PERHAPS || (held == HOLDS && !is_held_once((void *)key)))
			return OWNER_UNKNOWN;
		identify(closing, task);
		return OWNER_SCANNED;
	}
	identify(closing, task);
	return OWNER_EXACT;
}

/*
 * When a state began that a FIN or its acknowledgement brings about. Two times tell all of them, because the last state
 * says which there were: TCP_FIN_WAIT1, then perhaps TCP_FIN_WAIT2 or TCP_CLOSING; TCP_CLOSE_WAIT, then perhaps
 * TCP_LAST_ACK.
 */
static __always_inline void closes_on(struct socket_entry *entry, int new_state)
{
	if (new_state == TCP_FIN_WAIT1 || new_state == TCP_CLOSE_WAIT)
		entry->closing_ns = bpf_ktime_get_ns();
	else
		entry->closing_on_ns = bpf_ktime_get_ns();
}

static __always_inline void change_state(struct bpf_raw_tracepoint_args *ctx, struct socket_record *record)
{
	void *sk = (void *)ctx->args[0];
	int old_state = ctx->args[1], new_state = ctx->args[2];
	struct process_id self = {};
	struct socket_entry *entry;
	u64 key = (u64)sk;
	u8 certainty = OWNER_EXACT;
	u16 protocol = 0;
	u32 owned = 0;
	int begins;

	/* a listener's child, which is told of once it is established */
	if (new_state == TCP_SYN_RECV)
		return;
	LOAD(protocol, sk, OFFSET_sock_sk_protocol);
	if (protocol != IPPROTO_TCP)
		return;
	entry = sockets.lookup(&key);
	if (new_state == TCP_CLOSE_WAIT || new_state == TCP_FIN_WAIT2 || new_state == TCP_CLOSING) {
		if (entry) /* what the far end sent brings it about, so `current` says nothing */
			closes_on(entry, new_state);
		return;
	}
	/* TCP_FIN_WAIT1 and TCP_LAST_ACK: the owner closes, also by exit and by kill -9 */
	LOAD(owned, sk, OFFSET_sock_sk_lock_owned);
	begins = new_state == TCP_SYN_SENT || new_state == TCP_LISTEN;
	if (entry && entry->flags & SOCKET_UNSENT) {
		if (new_state != TCP_LISTEN && old_state != TCP_SYN_RECV) {
			begin_sending(sk, entry, record);
			if (new_state == TCP_SYN_SENT)
				return;
		} else { /* it failed before: of this socket, or of one whose release was missed */
			report_unsent(ctx, plain_address(record, sk), entry, record);
			entry = 0;
		}
	}
	if (begins)
		identify_current(&self);
	else if (owned && new_state != TCP_ESTABLISHED)
		certainty = find_closing(&self, sk, key, entry);

	/* TCP_SYN_RECV to TCP_FIN_WAIT1: Fast Open, closed by its owner before the handshake's end */
	if (begins || (!entry && old_state == TCP_SYN_RECV && (new_state == TCP_ESTABLISHED || new_state == TCP_FIN_WAIT1)))
		track_new(sk, key, new_state, &self, record);
	else if (new_state == TCP_CLOSE)
		report_end(ctx, sk, key, old_state, entry, &self, certainty, record);
	else if (entry && new_state == TCP_ESTABLISHED)
		entry->established_ns = bpf_ktime_get_ns();
	else if (entry) {
		closes_on(entry, new_state);
		if (self.pid)
			own(entry, &self, certainty);
	}
}

/* inet_sock_set_state(sk, oldstate, newstate); skc_state still holds the old one */
int tcp_state(struct bpf_raw_tracepoint_args *ctx)
{
	struct records_at_hand *at_hand;
	int only = 0;
	u64 taken;

	at_hand = records_at_hand.lookup(&only);
	if (!at_hand)
		return 0;
	taken = *(volatile u64 *)&at_hand->taken;
	if (taken >= NESTED)
		return 0;
	*(volatile u64 *)&at_hand->taken = taken + 1;
	change_state(ctx, &at_hand->records[taken]);
	*(volatile u64 *)&at_hand->taken = taken;
	return 0;
}
