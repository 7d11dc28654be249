/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * In a flood, queries and ends of sockets beyond so many a second are counted by process instead of listed one by one:
 * nobody could read them, and handing each over would take the CPU from the work that is watched. Nothing is left out of
 * the sums. Only what is beyond doubt is counted here: one known owner, and an ordinary end.
 */

#define DUE_QUERIES 0
#define DUE_CONNECTIONS 1
#define DUE_SOCKETS 2

/* Written by nettop: see the indices in abi.h. */
BPF_ARRAY(controls, u64, CONTROLS);
/* When the next one of each kind is due at the rate that is listed; ahead of the clock by what came faster. */
BPF_ARRAY(due_ns, u64, 3);
BPF_HASH(unlisted, struct unlisted_key, struct unlisted, 4096);

/* A question that waits for its answer, by what the answer must repeat (RFC 5452 section 3). */
struct question {
	u64 socket_cookie; /* 0: none */
	u32 content;
	u16 id;
	u16 listed;
};

#define BUCKETS 8192
#define QUESTIONS_IN_A_BUCKET 4

/*
 * All questions that wait, with nothing to lock or to allocate. Where a bucket is full one gives way: should its answer
 * come, it is handed on like any that nobody asked for. Two CPUs in one bucket at once can at worst do the same.
 */
struct bucket {
	struct question questions[QUESTIONS_IN_A_BUCKET];
};
BPF_ARRAY(waiting, struct bucket, BUCKETS);

static __always_inline u64 control(int which)
{
	u64 *value = controls.lookup(&which);

	return value ? *value : 0;
}

/* Generic cell rate algorithm, ITU-T I.371 annex A. Two CPUs at once may both get in: so many more are listed. */
static __always_inline int may_list(int kind)
{
	u64 interval_ns = control(kind == DUE_QUERIES ? QUERY_INTERVAL_NS : END_INTERVAL_NS);
	u64 now_ns = bpf_ktime_get_ns(), due, *next = due_ns.lookup(&kind);

	if (!interval_ns || !next)
		return 1;
	due = *next;
	if (due < now_ns)
		due = now_ns;
	else if (due - now_ns > interval_ns * control(LISTED_AT_ONCE))
		return 0;
	*next = due + interval_ns;
	return 1;
}

/*
 * Where to count an end instead of listing it; 0 if it is to be listed, also for want of room for one more process. What
 * the iterator has reported is listed already; and while a pass is being made all is, because the pass may be reporting
 * it at this moment.
 */
static __always_inline struct unlisted *unlisted_end(struct socket_entry *entry, int kind)
{
	struct unlisted_key key = {};
	struct unlisted *counts;

	if (entry->reported_state || entry->owner_certainty != OWNER_EXACT || entry->flags & SOCKET_SHARED ||
	    control(PASS) || may_list(kind))
		return 0;
	key.start_boot_ns = entry->owner.start_boot_ns;
	key.pid = entry->owner.pid;
	key.netns = entry->netns;
	key.generation = control(GENERATION);
	counts = unlisted.lookup(&key);
	if (!counts) {
		struct unlisted fresh = {};

		fresh.owner = entry->owner;
		unlisted.insert(&key, &fresh);
		counts = unlisted.lookup(&key);
	}
	return counts;
}

/* Whether the end of a connection was counted. */
static __always_inline int count_connection(struct socket_record *record)
{
	struct socket_entry *entry = &record->entry;
	struct unlisted *counts;

	/* as it ended in tracking/connections.py: an error, an abort, or what never was established */
	if (record->error || record->state == TCP_SYN_SENT || record->state == TCP_ESTABLISHED ||
	    record->state == TCP_CLOSE_WAIT || !(entry->flags & (SOCKET_OUTBOUND | SOCKET_INBOUND)))
		return 0;
	counts = unlisted_end(entry, DUE_CONNECTIONS);
	if (!counts)
		return 0;
	if (entry->flags & SOCKET_OUTBOUND)
		__sync_fetch_and_add(&counts->opened, 1);
	else
		__sync_fetch_and_add(&counts->accepted, 1);
	__sync_fetch_and_add(&counts->tcp_tx_bytes, record->tx_bytes);
	__sync_fetch_and_add(&counts->tcp_rx_bytes, record->rx_bytes);
	__sync_fetch_and_add(&counts->retransmits, record->retransmits);
	return 1;
}

/* Whether the end of a UDP socket was counted. */
static __always_inline int count_socket(struct socket_record *record)
{
	struct socket_entry *entry = &record->entry;
	struct unlisted *counts = unlisted_end(entry, DUE_SOCKETS);

	if (!counts)
		return 0;
	__sync_fetch_and_add(&counts->queries, entry->unlisted_queries);
	__sync_fetch_and_add(&counts->answered, entry->unlisted_answered);
	__sync_fetch_and_add(&counts->failed, entry->unlisted_failed);
	__sync_fetch_and_add(&counts->udp_tx_bytes, entry->kept_tx_bytes);
	__sync_fetch_and_add(&counts->udp_rx_bytes, entry->kept_rx_bytes);
	__sync_fetch_and_add(&counts->udp_rx_dropped, record->rx_dropped);
	return 1;
}

/*
 * Whether a DNS message over UDP, `offset` bytes into the packet and `bytes` long, was counted. A question that has been
 * sent before stays what it was then, and an answer is what its question was.
 */
static __always_inline int count_message(struct __sk_buff *skb, struct socket_entry *entry, u32 offset, u32 bytes,
					 int egress)
{
	struct question *known = 0, *room;
	struct bucket *bucket;
	u32 content = bytes, index, number;
	u64 cookie, words[2];
	u8 head[4]; /* id, flags, rcode: RFC 1035 section 4.1.1 */
	u16 id;

	if (entry->owner_certainty != OWNER_EXACT || entry->flags & SOCKET_SHARED)
		return 0;
	if (bytes < DNS_HEADER_BYTES || bpf_skb_load_bytes(skb, offset, head, sizeof(head)))
		return 0;
	if (head[2] >> 7 == egress) /* a server's side of the same port */
		return 0;
	cookie = bpf_get_socket_cookie(skb);
	id = head[0] << 8 | head[1];
	index = (id ^ (u32)cookie * 0x9e37) & (BUCKETS - 1);
	bucket = waiting.lookup(&index);
	if (!bucket)
		return 0;
	room = &bucket->questions[(id >> 13) & (QUESTIONS_IN_A_BUCKET - 1)];
#pragma clang loop unroll(full)
	for (number = 0; number < QUESTIONS_IN_A_BUCKET; number++) {
		struct question *each = &bucket->questions[number];

		if (each->socket_cookie == cookie && each->id == id)
			known = each;
		if (!each->socket_cookie)
			room = each;
	}
	if (!egress) {
		if (!known)
			return 0;
		known->socket_cookie = 0;
		if (known->listed)
			return 0;
		__sync_fetch_and_add(&entry->unlisted_answered, 1);
		if (head[3] & 15)
			__sync_fetch_and_add(&entry->unlisted_failed, 1);
		return 1;
	}
	/* names alike in these bytes and in length would have to be asked for with the same id on one socket at once */
	if (bytes >= DNS_HEADER_BYTES + sizeof(words) &&
	    !bpf_skb_load_bytes(skb, offset + DNS_HEADER_BYTES, words, sizeof(words)))
		content += words[0] * 31 + (words[0] >> 32) * 17 + words[1] * 7 + (words[1] >> 32);
	if (known && known->content == content)
		return !known->listed;
	if (known)
		room = known;
	room->id = id;
	room->content = content;
	room->listed = may_list(DUE_QUERIES);
	room->socket_cookie = cookie;
	if (room->listed)
		return 0;
	__sync_fetch_and_add(&entry->unlisted_queries, 1);
	return 1;
}
