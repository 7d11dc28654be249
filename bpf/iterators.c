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

	if (entry->protocol == IPPROTO_UDP)
		return entry->kept_tx_bytes + entry->kept_rx_bytes;
	if (entry->flags & SOCKET_LISTENER)
		return 0;
	READ(sent, sk, OFFSET_tcp_sock_bytes_sent);
	READ(received, sk, OFFSET_tcp_sock_bytes_received);
	READ(*srtt, sk, OFFSET_tcp_sock_srtt_us);
	if (state != TCP_ESTABLISHED && state != TCP_CLOSE_WAIT)
		READ(resent, sk, OFFSET_tcp_sock_total_retrans);
	return sent + received + resent;
}

/* Reports the sockets that have changed since the last pass, in full. BCC finds the attach point by this name. */
int bpf_iter__bpf_map_elem(struct map_element_context *ctx)
{
	struct socket_entry *entry = (void *)ctx->value;
	struct iterator_meta *meta = ctx->meta;
	struct socket_record record = {};
	u8 state = TCP_ESTABLISHED, owner; /* of UDP any constant but 0, "never reported" */
	u64 *key = ctx->key, sum;
	u32 srtt = 0;
	void *sk;

	if (!key || !entry)
		return 0;
	sk = (void *)*key;
	owner = entry->owner_certainty;
	if (entry->protocol == IPPROTO_UDP)
		owner |= entry->flags & SOCKET_SHARED; /* whether there is only one */
	else
		READ(state, sk, OFFSET_sock_common_skc_state);
	sum = activity(entry, sk, state, &srtt);
	if (control(PASS) != PASS_ALL && entry->reported_state == state && entry->reported_sum == sum &&
	    entry->reported_srtt == srtt && entry->reported_owner == owner)
		return 0;
	record.time_ns = bpf_ktime_get_ns();
	record.socket = *key;
	record.state = state;
	if (entry->protocol == IPPROTO_UDP) {
		record.tx_bytes = entry->kept_tx_bytes;
		record.rx_bytes = entry->kept_rx_bytes;
	} else {
		if (!entry->local_port)
			read_addresses(entry, sk, UNTYPED);
		if (!(entry->flags & SOCKET_LISTENER))
			read_tcp_counters(&record, sk, UNTYPED);
	}
	record.entry = *entry;
	/* no room left: the kernel calls again for this socket once the rest has been read */
	if (seq_write(meta->seq, &record, sizeof(record)))
		return 0;
	entry->reported_state = state;
	entry->reported_sum = sum;
	entry->reported_srtt = srtt;
	entry->reported_owner = owner;
	return 0;
}

/* Enters TCP sockets that are not in the map, and gives those that are an owner if they have none. */
int bpf_iter__task_file(struct task_file_context *ctx)
{
	void *file = ctx->file, *task = ctx->task;
	u64 address = (u64)file, task_address = (u64)task, inode = 0, socket = 0, sk = 0;
	struct socket_entry *known;
	struct process_id holder = {};
	u16 mode = 0, protocol = 0, family = 0;
	u8 state = 0;

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
	known = sockets.lookup(&sk);
	if (known && known->owner_certainty != OWNER_UNKNOWN)
		return 0;
	READ(protocol, sk, OFFSET_sock_sk_protocol);
	READ(state, sk, OFFSET_sock_common_skc_state);
	if (!known && (protocol != IPPROTO_TCP || state == TCP_CLOSE))
		return 0;
	identify(&holder, (void *)task_address);
	if (known) {
		own(known, &holder, OWNER_SCANNED);
		return 0;
	}

	struct socket_entry entry = {};

	entry.netns = netns_of((void *)sk, UNTYPED);
	if (!netns_in_scope(entry.netns) || !process_in_scope(&holder))
		return 0;
	own(&entry, &holder, OWNER_SCANNED);
	entry.protocol = IPPROTO_TCP;
	entry.flags = state == TCP_LISTEN ? SOCKET_OLD | SOCKET_LISTENER : SOCKET_OLD;
	entry.seen_ns = bpf_ktime_get_ns();
	if (state != TCP_LISTEN)
		read_tcp_bytes((void *)sk, &entry.kept_tx_bytes, &entry.kept_rx_bytes, UNTYPED);
	/* only if still absent: an event may have been quicker */
	if (sockets.insert(&sk, &entry) == -E2BIG)
		count_loss(OLDER_WITHOUT_ROOM, 1);
	return 0;
}
