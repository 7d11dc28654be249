/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * BPF iterators, read once a tick: the live counters of the sockets in the map, and the sockets in every process's table
 * of open files. They cost the traffic nothing and cover every network namespace in one pass.
 */

struct iterator_meta {
	void *seq;
	u64 session_id;
	u64 seq_num;
};

struct map_element_context {
	struct iterator_meta *meta;
	void *map;
	u64 *key;
	struct socket_entry *value;
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

/*
 * What changes with everything that a socket's record tells: all of it in one number, and the smoothed round-trip time. A
 * segment that is sent again counts as sent, so that the rest of the counters, which lie elsewhere in memory and would
 * double the cost of a pass, matter only while a connection is made or ended, when a segment without payload may be.
 */
static __always_inline u64 activity(struct socket_entry *entry, void *sk, u8 state, u32 *srtt)
{
	u64 sent = 0, received = 0;
	u32 resent = 0;

	if (entry->protocol != IPPROTO_TCP) /* what is dropped is counted and taken back */
		return entry->kept_tx_bytes + entry->kept_rx_bytes + read_dropped(sk) - entry->kept_dropped;
	if (entry->flags & SOCKET_LISTENER)
		return 0;
	READ(sent, sk, OFFSET_tcp_sock_bytes_sent);
	READ(received, sk, OFFSET_tcp_sock_bytes_received);
	READ(*srtt, sk, OFFSET_tcp_sock_srtt_us);
	if (state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT)
		READ(resent, sk, OFFSET_tcp_sock_total_retrans);
	return sent + received + resent;
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

/* Reports the sockets that have changed since the last pass, in full. BCC finds the attach point by this name. */
int bpf_iter__bpf_map_elem(struct map_element_context *ctx)
{
	struct socket_entry *entry = (void *)ctx->value;
	struct iterator_meta *meta = ctx->meta;
	struct socket_record record = {};
	u8 state = TCP_ESTABLISHED, owner; /* of what is not TCP any constant but 0, "never reported" */
	u64 *key = ctx->key, sum;
	u32 srtt = 0;
	int in_scope;
	void *sk;

	if (!key || !entry)
		return 0;
	/* told once more if it was in scope until now: it has been passed on */
	in_scope = owner_in_scope(entry, 0);
	if (!in_scope && !entry->reported_state)
		return 0;
	sk = (void *)*key;
	owner = entry->owner_certainty;
	if (entry->protocol != IPPROTO_TCP) {
		owner |= entry->flags & SOCKET_SHARED; /* whether there is only one */
		if (is_dead(sk))
			state = TCP_CLOSE;
	} else {
		READ(state, sk, OFFSET_sock_common_skc_state);
	}
	sum = activity(entry, sk, state, &srtt);
	if (entry->protocol != IPPROTO_TCP && !sum && !entry->reported_state && state != TCP_CLOSE)
		return 0; /* nothing was sent or received on it yet */
	if (control(PASS) != PASS_ALL && entry->reported_state == state && entry->reported_sum == sum &&
	    entry->reported_srtt == srtt && entry->reported_owner == owner)
		return 0;
	record.time_ns = bpf_ktime_get_ns();
	record.socket = *key;
	record.state = state;
	record.entry = *entry;
	if (entry->protocol != IPPROTO_TCP) {
		record.tx_bytes = record.entry.kept_tx_bytes;
		record.rx_bytes = record.entry.kept_rx_bytes;
		record.rx_dropped = read_dropped(sk) - record.entry.kept_dropped;
	} else {
		read_addresses(&record.entry, sk, UNTYPED);
		if (!(record.entry.flags & SOCKET_LISTENER))
			read_tcp_counters(&record, sk, UNTYPED);
	}
	/* no room left: the kernel calls again for this socket once the rest has been read */
	if (seq_write(meta->seq, &record, sizeof(record)))
		return 0;
	/* the kernel gives the entry of a socket that ends to a new one at once, also while a pass looks at it */
	if (entry->seen_ns != record.entry.seen_ns)
		return 0;
	entry->reported_state = in_scope ? state : 0;
	entry->reported_sum = sum;
	entry->reported_srtt = srtt;
	entry->reported_owner = owner;
	return 0;
}

/* How many sockets of one Multipath TCP connection are looked at: as many as a path manager makes. */
#define SUBFLOWS 8

/*
 * A process holds this socket. It becomes the owner where none is known, and where the one that is known held the socket
 * neither during the whole scan before this nor in this one so far: it has passed it on, or has ended.
 */
static __always_inline void found_held(u64 sk, void *task, u32 scan)
{
	struct socket_entry *known = sockets.lookup(&sk), entry = {};
	struct process_id holder = {};
	u16 type = 0, protocol = 0;
	u8 state = 0;
	u32 pid = 0;

	if (known && known->owner_certainty != OWNER_UNKNOWN) {
		READ(pid, task, OFFSET_task_struct_tgid);
		if (pid == known->owner.pid) {
			known->held_scan = scan;
			return;
		}
		if (known->held_scan + 1 >= scan) {
			if (known->flags & SOCKET_LISTENER && !(known->flags & SOCKET_SHARED)) {
				known->flags |= SOCKET_SHARED;
				known->reported_owner = 0; /* to be reported */
			}
			return;
		}
	}
	READ(type, sk, OFFSET_sock_sk_type);
	READ(protocol, sk, OFFSET_sock_sk_protocol);
	READ(state, sk, OFFSET_sock_common_skc_state);
	protocol = counted_as(type, protocol);
	if (!known && protocol == IPPROTO_TCP && state == TCP_CLOSE)
		return;
	identify(&holder, task);
	if (known) {
		known = sockets.lookup(&sk); /* it may have ended meanwhile */
		if (!known)
			return;
		own(known, &holder, OWNER_SCANNED);
		known->held_scan = scan;
		known->flags &= ~SOCKET_SHARED; /* with one that is gone; whoever else is there shows it again */
		known->reported_owner = 0; /* to be reported, also where one was scanned before */
		return;
	}
	entry.netns = netns_of((void *)sk, UNTYPED);
	if (!netns_in_scope(entry.netns) || !process_in_scope(&holder))
		return;
	own(&entry, &holder, OWNER_SCANNED);
	entry.held_scan = scan;
	entry.protocol = protocol;
	entry.flags = SOCKET_OLD;
	entry.seen_ns = bpf_ktime_get_ns();
	if (protocol != IPPROTO_TCP)
		entry.kept_dropped = read_dropped((void *)sk);
	else if (state == TCP_LISTEN)
		entry.flags |= SOCKET_LISTENER;
	else
		read_tcp_bytes((void *)sk, &entry.kept_tx_bytes, &entry.kept_rx_bytes, UNTYPED);
	/* only if still absent: an event may have been quicker */
	if (sockets.insert(&sk, &entry) == -E2BIG)
		count_loss(OLDER_WITHOUT_ROOM, 1);
}

/* Goes through the sockets in every process's table of open files; see found_held(). */
int bpf_iter__task_file(struct task_file_context *ctx)
{
	void *file = ctx->file, *task = ctx->task;
	u64 address = (u64)file, task_address = (u64)task, inode = 0, socket = 0, sk = 0;
	u16 mode = 0, protocol = 0, family = 0;
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
				found_held(subflow, (void *)task_address, scan);
		}
		return 0;
	}
#endif
	found_held(sk, (void *)task_address, scan);
	return 0;
}
