/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What nettop runs itself, once a tick or less: the pass over the sockets in the map, for their live counters, and the BPF
 * iterator over the sockets in every process's table of open files. Both cost the traffic nothing and cover every network
 * namespace. The pass is no iterator, because some kernels that are locked down permit none that can write to a map.
 */

struct iterator_meta {
	void *seq;
	u64 session_id;
	u64 seq_num;
};

struct task_file_context {
	struct iterator_meta *meta;
	void *task;
	u32 fd;
	u32 pad;
	void *file;
};

#define SEQ_WRITE_HELPER 127 /* bpf_seq_write: BCC 0.26 has no name for it */
static int (*seq_write)(void *seq, const void *source, u32 bytes) = (void *)SEQ_WRITE_HELPER;
#define JIFFIES_HELPER 118 /* bpf_jiffies64 */
static u64 (*jiffies_now)(void) = (void *)JIFFIES_HELPER;

/* Where the ends of what a connection has sent and received stand; equal in pairs where nothing is outstanding. */
struct outstanding {
	u32 write_seq, snd_una, rcv_nxt, copied_seq;
};

static __always_inline int is_outstanding(struct outstanding *ends)
{
	return ends->write_seq != ends->snd_una || ends->rcv_nxt != ends->copied_seq;
}

/*
 * What stands in the way of a connection, and in one number all that may change of it. A time that goes on is not part of
 * that, or a connection that stands still would change in every pass.
 */
static __always_inline u64 read_waits(struct socket_record *record, void *sk, struct outstanding *ends)
{
	u32 snd_nxt = 0, since = 0, running;
	unsigned long flags = 0;
	u64 sent = 0, sum;
	u8 chrono = 0;

	READ(sent, sk, OFFSET_tcp_sock_bytes_sent);
	READ(snd_nxt, sk, OFFSET_tcp_sock_snd_nxt);
	READ(flags, sk, OFFSET_sock_common_skc_flags);
	READ(record->window_bytes, sk, OFFSET_tcp_sock_snd_wnd);
	READ(record->mss_bytes, sk, OFFSET_tcp_sock_mss_cache);
	READ(record->cwnd, sk, OFFSET_tcp_sock_snd_cwnd);
	READ(record->ssthresh, sk, OFFSET_tcp_sock_snd_ssthresh);
	READ(record->out_of_order, sk, OFFSET_tcp_sock_rcv_ooopack);
	READ(record->retries, sk, OFFSET_inet_connection_sock_icsk_retransmits);
	READ(record->backoff, sk, OFFSET_inet_connection_sock_icsk_backoff);
	READ(chrono, sk, OFFSET_tcp_sock_chrono_type);
	READ(since, sk, OFFSET_tcp_sock_chrono_start);
	READ(record->busy_jiffies, sk, OFFSET_tcp_sock_chrono_stat);
	READ(record->rwnd_jiffies, sk, OFFSET_tcp_sock_chrono_stat + 4);
	READ(record->sndbuf_jiffies, sk, OFFSET_tcp_sock_chrono_stat + 8);
	chrono = (chrono & MASK_tcp_sock_chrono_type) / (MASK_tcp_sock_chrono_type & -MASK_tcp_sock_chrono_type);
	record->unread_bytes = ends->rcv_nxt - ends->copied_seq;
	if (flags & SOCK_DONE_FLAG && record->unread_bytes) /* as tcp_inq() counts: a FIN takes a sequence number */
		record->unread_bytes--;
	record->unacked_bytes = ends->write_seq - ends->snd_una;
	record->unsent_bytes = ends->write_seq - snd_nxt;
	record->sending = SENDING_NOTHING + chrono;
#ifdef OFFSET_mptcp_sock_first
	u8 is_subflow = 0;

	READ(is_subflow, sk, OFFSET_tcp_sock_is_mptcp);
	if (is_subflow & MASK_tcp_sock_is_mptcp) /* what waits to be read or sent waits elsewhere */
		record->sending = SENDING_UNKNOWN;
#endif
	sum = sent;
	sum = sum * 31 + (((u64)snd_nxt << 32) | ends->snd_una);
	sum = sum * 31 + (((u64)record->unread_bytes << 32) | record->window_bytes);
	sum = sum * 31 + (((u64)record->cwnd << 32) | record->out_of_order);
	sum = sum * 31 + (((u64)since << 32) | (record->retries << 16) | (record->backoff << 8) | chrono);
	/* tcp_chrono_set() adds to the sums once something else begins */
	running = (u32)jiffies_now() - since;
	if (chrono)
		record->for_jiffies = running;
	if (chrono == SENDING_BUSY - SENDING_NOTHING)
		record->busy_jiffies += running;
	else if (chrono == SENDING_RWND_LIMITED - SENDING_NOTHING)
		record->rwnd_jiffies += running;
	else if (chrono)
		record->sndbuf_jiffies += running;
	return sum;
}

#define NEAR_BYTES 128 /* beyond that, what lies between would cost more than another call */

/* Two counters by one call of the helper where this kernel keeps them near each other. */
static __always_inline void read_both(u32 *one, u32 *other, void *sk, int one_at, int other_at)
{
	int low = one_at < other_at ? one_at : other_at, high = one_at < other_at ? other_at : one_at;
	u32 span[NEAR_BYTES / sizeof(u32)];

	if (high - low < NEAR_BYTES) {
		read_kernel(span, high - low + sizeof(u32), (char *)sk + low);
		*one = span[(one_at - low) / sizeof(u32)];
		*other = span[(other_at - low) / sizeof(u32)];
	} else {
		READ(*one, sk, one_at);
		READ(*other, sk, other_at);
	}
}

/*
 * What changes with everything that a socket's record tells, in one number, as long as nothing is outstanding: that the process
 * writes, and that a segment comes or goes, also one without payload. A process reads what has come with a segment, and
 * with segments goes whose turn it is. What a pass sees too early makes up for that with the acknowledgement: a segment
 * that is sent and has not taken its turn, one that has come and waits in the socket's backlog. The rest of the counters lie elsewhere in memory and would double the cost of a pass.
 */
static __always_inline u64 activity(struct socket_entry *entry, void *sk, struct outstanding *ends)
{
	u32 sent = 0, received = 0;
	u64 segments;

	if (entry->protocol != IPPROTO_TCP) /* what is dropped is counted and taken back */
		return entry->kept_tx_bytes + entry->kept_rx_bytes + read_dropped(sk) - entry->kept_dropped;
	read_both(&ends->write_seq, &sent, sk, OFFSET_tcp_sock_write_seq, OFFSET_tcp_sock_segs_out);
	READ(received, sk, OFFSET_tcp_sock_segs_in);
	segments = ((u64)sent << 32) | received;
	return ends->write_seq + segments * 0x9E3779B97F4A7C15;
}

/* The other ends of a connection's bytes. */
static __always_inline void read_ends(struct outstanding *ends, void *sk)
{
	read_both(&ends->rcv_nxt, &ends->snd_una, sk, OFFSET_tcp_sock_rcv_nxt, OFFSET_tcp_sock_snd_una);
	READ(ends->copied_seq, sk, OFFSET_tcp_sock_copied_seq);
}

/* The same of a listener, so that a change of one of these is seldom taken back by that of another. */
static __always_inline u64 listener_activity(struct socket_record *record)
{
	u64 rest = record->listener_syn_queue + 31 * record->listener_queue_limit + (record->listener_group >> 5);

	return ((u64)record->rx_dropped << 32 | record->listener_queue) + rest * 0x9E3779B97F4A7C15;
}

/*
 * Whether a socket that is not TCP's is gone though its release was not seen: another program may refuse it right after it was made, and
 * then nobody releases it.
 */
static __always_inline int is_dead(void *sk)
{
	unsigned long flags = 0;

	READ(flags, sk, OFFSET_sock_common_skc_flags);
	return flags & SOCK_DEAD_FLAG;
}

/* What is being reported, or entered, by the one reader there is: the stack has no room for it. */
BPF_ARRAY(reporting, struct socket_record, 1);

/* Fill `record`, in full, if the socket has changed since the last pass. Returns whether it has. */
static __always_inline int report(u64 socket, struct socket_entry *entry, struct socket_record *record)
{
	struct outstanding ends = {};
	u8 state = TCP_ESTABLISHED, owner; /* of what is not TCP any constant but 0, "never reported" */
	int in_scope, changed;
	void *sk = (void *)socket;
	u64 sum, waits;

	/* told once more if it was in scope until now: it has been passed on */
	in_scope = owner_in_scope(entry, 0);
	if (!in_scope && !entry->reported_state)
		return 0;
	owner = entry->owner_certainty;
	if (entry->protocol == IPPROTO_TCP)
		READ(state, sk, OFFSET_sock_common_skc_state);
	else
		owner |= entry->flags & SOCKET_SHARED; /* whether there is only one */
	if (entry->protocol != IPPROTO_TCP || (entry->flags & SOCKET_UNSENT && state == TCP_CLOSE)) {
		if (is_dead(sk))
			state = TCP_CLOSE;
		else if (entry->protocol == IPPROTO_TCP) /* it connects at this moment, or has failed, which its release tells */
			return 0;
	}
	if (entry->flags & SOCKET_LISTENER) {
		__builtin_memset(record, 0, sizeof(*record));
		read_listener(record, sk, entry->kept_dropped);
		sum = listener_activity(record);
	} else {
		sum = activity(entry, sk, &ends);
	}
	if (entry->protocol != IPPROTO_TCP && !sum && !entry->reported_state && state != TCP_CLOSE)
		return 0; /* nothing was sent or received on it yet */
	changed = control(PASS) == PASS_ALL || entry->reported_state != state || entry->reported_owner != owner;
	if (!changed && entry->reported_sum == sum) /* nothing was outstanding then, or there would be more in it */
		return 0;
	if (!(entry->flags & SOCKET_LISTENER)) {
		__builtin_memset(record, 0, sizeof(*record));
		if (entry->protocol == IPPROTO_TCP) {
			read_ends(&ends, sk);
			waits = read_waits(record, sk, &ends);
			if (is_outstanding(&ends))
				sum += waits | 1;
		}
	}
	if (!changed && entry->reported_sum == sum)
		return 0;
	record->time_ns = bpf_ktime_get_ns();
	record->socket = socket;
	record->state = state;
	record->entry = *entry;
	if (entry->protocol != IPPROTO_TCP) {
		read_counted(record, sk);
		record->rx_dropped = read_dropped(sk) - record->entry.kept_dropped;
	} else {
		read_addresses(&record->entry, sk, UNTYPED);
		if (!(record->entry.flags & SOCKET_LISTENER)) {
			read_tcp_counters(record, sk, UNTYPED);
			read_turns(record, find_turn_slot(socket));
		}
	}
	/* the kernel gives the entry of a socket that ends to a new one at once, also while a pass looks at it */
	if (entry->seen_ns == record->entry.seen_ns) {
		entry->reported_state = in_scope ? state : 0;
		entry->reported_sum = sum;
		entry->reported_owner = owner;
	}
	return 1;
}

/* Its one element is mapped into the reader's memory. */
BPF_F_TABLE("array", int, struct asked_sockets, asked_sockets, 1, PAGE_ALIGNED);

/* Reports which of the sockets that the reader asks for have changed since the last pass; it is the reader who runs this. */
int report_asked(void *ctx)
{
	struct asked_sockets *asked;
	struct socket_entry *entry;
	int only = 0, number;
	u32 reported;
	u64 socket;

	asked = asked_sockets.lookup(&only);
	if (!asked)
		return 0;
	asked->reported = 0;
#pragma clang loop unroll(disable)
	for (number = 0; number < SOCKETS_ASKED && number < asked->asked; number++) {
		socket = asked->sockets[number];
		entry = sockets.lookup(&socket);
		if (!entry) /* it has ended meanwhile */
			continue;
		reported = asked->reported & (SOCKETS_ASKED - 1); /* from memory, so that the verifier need not follow it */
		if (report(socket, entry, &asked->records[reported]))
			asked->reported = reported + 1;
	}
	return 0;
}

#define WAITING_LOOKED_AT 32 /* of the connections that nobody has accepted yet: the verifier follows each step at the start */

/*
 * Connections older than nettop that wait in a listener's queue: no file leads to them. They are nobody's yet. `entry` is that
 * of the listener, and becomes theirs.
 */
static __always_inline void enter_waiting(u64 listener, struct socket_entry *entry)
{
	u64 request = 0, sk;
	u32 sent, received, number;
	u8 state;

	__builtin_memset(&entry->owner, 0, sizeof(entry->owner));
	entry->owner_certainty = OWNER_UNKNOWN;
	entry->flags = SOCKET_OLD | SOCKET_INBOUND;
	entry->kept_dropped = 0;
	READ(request, listener, OFFSET_inet_connection_sock_icsk_accept_queue_rskq_accept_head);
#pragma clang loop unroll(disable)
	for (number = 0; number < WAITING_LOOKED_AT && request; number++) {
		sk = sent = received = state = 0;
		READ(sk, request, OFFSET_request_sock_sk);
		READ(request, request, OFFSET_request_sock_dl_next);
		READ(state, sk, OFFSET_sock_common_skc_state);
		if (!sk || state == TCP_CLOSE || state == TCP_SYN_RECV) /* broken off, or told of once it is established */
			continue;
		read_tcp_bytes((void *)sk, &entry->kept_tx_bytes, &entry->kept_rx_bytes, UNTYPED);
		read_tcp_packets((void *)sk, &sent, &received, UNTYPED);
		entry->kept_tx_packets = sent;
		entry->kept_rx_packets = received;
		if (sockets.insert(&sk, entry) == -E2BIG)
			count_loss(OLDER_WITHOUT_ROOM, 1);
		READ(state, sk, OFFSET_sock_common_skc_state);
		if (state == TCP_CLOSE) /* its end may have been told before there was an entry */
			sockets.delete(&sk);
	}
}

/* How many sockets of one Multipath TCP connection are looked at: as many as a path manager makes. */
#define SUBFLOWS 8

/*
 * A process holds this socket. It becomes the owner where none is known, and where the one that is known held the socket
 * neither during the whole scan before this nor in this one so far: it has passed it on, or has ended. Returns `seen_ns` of a
 * listener; 0 of anything else. `holder` and `entry` are room for what is found.
 */
static __always_inline u64 take_holder(u64 sk, void *task, u32 scan, struct process_id *holder, struct socket_entry *entry,
				       u64 *entered)
{
	struct socket_entry *known = sockets.lookup(&sk);
	u64 listener_ns = known && known->flags & SOCKET_LISTENER ? known->seen_ns : 0;
	u16 type = 0, protocol = 0;
	u8 state = 0;
	u32 pid = 0;
	int error;

	if (known && known->flags & SOCKET_UNSENT) /* who connected is certain */
		return 0;
	if (known && known->owner_certainty != OWNER_UNKNOWN) {
		READ(pid, task, OFFSET_task_struct_tgid);
		if (pid == known->owner.pid) {
			known->held_scan = scan;
			return listener_ns;
		}
		if (known->held_scan + 1 >= scan) {
			if (known->flags & SOCKET_LISTENER && !(known->flags & SOCKET_SHARED)) {
				known->flags |= SOCKET_SHARED;
				known->reported_owner = 0; /* to be reported */
			}
			return listener_ns;
		}
	}
	READ(type, sk, OFFSET_sock_sk_type);
	READ(protocol, sk, OFFSET_sock_sk_protocol);
	READ(state, sk, OFFSET_sock_common_skc_state);
	protocol = counted_as(type, protocol);
	if (!known && protocol == IPPROTO_TCP && state == TCP_CLOSE)
		return 0;
	identify(holder, task);
	if (known) {
		known = sockets.lookup(&sk); /* it may have ended meanwhile */
		if (!known)
			return 0;
		own(known, holder, OWNER_SCANNED);
		known->held_scan = scan;
		known->flags &= ~SOCKET_SHARED; /* with one that is gone; whoever else is there shows it again */
		known->reported_owner = 0; /* to be reported, also where one was scanned before */
		if (known->flags & SOCKET_OLD && known->flags & SOCKET_INBOUND && !find_turn_slot(sk)) /* it waited to be accepted */
			claim_turns_old(sk, known->seen_ns);
		return listener_ns;
	}
	__builtin_memset(entry, 0, sizeof(*entry));
	entry->netns = netns_of((void *)sk, UNTYPED);
	if (!netns_in_scope(entry->netns) || !process_in_scope(holder))
		return 0;
	own(entry, holder, OWNER_SCANNED);
	entry->held_scan = scan;
	entry->protocol = protocol;
	entry->flags = SOCKET_OLD;
	entry->seen_ns = bpf_ktime_get_ns();
	if (protocol == IPPROTO_TCP && state == TCP_LISTEN) {
		entry->flags |= SOCKET_LISTENER;
		listener_ns = entry->seen_ns;
	}
	if (protocol != IPPROTO_TCP || listener_ns) {
		entry->kept_dropped = read_dropped((void *)sk);
	} else {
		u32 sent = 0, received = 0;

		read_tcp_bytes((void *)sk, &entry->kept_tx_bytes, &entry->kept_rx_bytes, UNTYPED);
		read_tcp_packets((void *)sk, &sent, &received, UNTYPED);
		entry->kept_tx_packets = sent;
		entry->kept_rx_packets = received;
	}
	/* only if still absent: an event may have been quicker */
	error = sockets.insert(&sk, entry);
	if (error == -E2BIG)
		count_loss(OLDER_WITHOUT_ROOM, 1);
	else if (!error && listener_ns)
		*entered = sk;
	else if (!error && protocol == IPPROTO_TCP)
		claim_turns_old(sk, entry->seen_ns);
	return listener_ns;
}

/* The holders of a listener are told one by one: after a fork there are several. */
static __always_inline void found_held(struct iterator_meta *meta, u64 sk, void *task, u32 scan, struct socket_entry *entry,
				       u64 *entered)
{
	struct holder_record record = {};

	record.seen_ns = take_holder(sk, task, scan, &record.holder, entry, entered);
	if (!record.seen_ns)
		return;
	record.socket = sk;
	identify(&record.holder, task);
	/* no room left: the kernel calls again for this file once the rest has been read */
	seq_write(meta->seq, &record, sizeof(record));
}

/* Goes through the sockets in every process's table of open files; see found_held(). */
int bpf_iter__task_file(struct task_file_context *ctx)
{
	void *file = ctx->file, *task = ctx->task;
	u64 address = (u64)file, task_address = (u64)task, inode = 0, socket = 0, sk = 0;
	u64 entered = 0; /* a listener; not of Multipath TCP: the verifier would walk the queue behind each subflow, 100 ms at the start */
	u16 mode = 0, protocol = 0, family = 0;
	struct socket_record *room;
	int only = 0;
	u32 scan;

	if (!file || !task)
		return 0;
	READ(inode, address, OFFSET_file_f_inode);
	READ(mode, inode, OFFSET_inode_i_mode);
	if ((mode & 0170000) != 0140000) /* S_IFMT, S_IFSOCK */
		return 0;
	READ(socket, address, OFFSET_file_private_data);
	READ(sk, socket, OFFSET_socket_sk);
	if (!sk)
		return 0;
	READ(family, sk, OFFSET_sock_common_skc_family);
	if (family != AF_INET && family != AF_INET6)
		return 0;
	room = reporting.lookup(&only);
	if (!room)
		return 0;
	scan = control(SCAN);
	READ(protocol, sk, OFFSET_sock_sk_protocol);
#ifdef OFFSET_mptcp_sock_first
	if (protocol == IPPROTO_MPTCP) {
		u64 head = sk + OFFSET_mptcp_sock_conn_list, node = head, subflow = 0;
		int number;

		/* the bytes are carried by TCP sockets behind this one, which no file leads to */
#pragma clang loop unroll(disable)
		for (number = 0; number < SUBFLOWS; number++) {
			READ(node, node, 0); /* list_head.next */
			if (!node || node == head)
				break;
			READ(subflow, node, OFFSET_mptcp_subflow_context_tcp_sock - OFFSET_mptcp_subflow_context_node);
			if (subflow)
				found_held(ctx->meta, subflow, (void *)task_address, scan, &room->entry, &entered);
		}
		return 0;
	}
#endif
	found_held(ctx->meta, sk, (void *)task_address, scan, &room->entry, &entered);
	if (entered)
		enter_waiting(entered, &room->entry);
	return 0;
}
