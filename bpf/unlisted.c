/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * In a flood, queries and ends of connections beyond so many a second are counted by process instead of listed one by
 * one: nobody could read them, and handing each over would take the CPU from the work that is watched. Nothing is left
 * out of the sums. Only what is beyond doubt is counted here: one known owner, and an ordinary end.
 */

/* Written by nettop: see the indices in abi.h. */
BPF_ARRAY(controls, u64, CONTROLS);
/* When the next one of each kind is due at the rate that is listed; ahead of the clock by what came faster. */
BPF_ARRAY(due_ns, u64, 2);
BPF_HASH(unlisted, struct unlisted_key, struct unlisted, 4096);

/* A question that waits for its answer, by what the answer must repeat (RFC 5452 section 3). */
struct asked_key {
	u64 socket_cookie;
	u64 id;
};
struct asked {
	u64 question;
	u64 listed;
};
BPF_TABLE("lru_hash", struct asked_key, struct asked, asked, 32768);

static __always_inline u64 control(int which)
{
	u64 *value = controls.lookup(&which);

	return value ? *value : 0;
}

/* Generic cell rate algorithm, ITU-T I.371 annex A. Two CPUs at once may both get in: so many more are listed. */
static __always_inline int may_list(int which)
{
	u64 interval_ns = control(which), now_ns = bpf_ktime_get_ns(), due;
	int kind = which == QUERY_INTERVAL_NS;
	u64 *next = due_ns.lookup(&kind);

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

/* Where to count for this owner; 0 if there is no room for one more process: then it is listed. */
static __always_inline struct unlisted *unlisted_of(struct process_id *owner, u32 netns)
{
	struct unlisted_key key = {};
	struct unlisted *counts;

	key.start_boot_ns = owner->start_boot_ns;
	key.pid = owner->pid;
	key.netns = netns;
	key.generation = control(GENERATION);
	counts = unlisted.lookup(&key);
	if (!counts) {
		struct unlisted fresh = {};

		fresh.owner = *owner;
		unlisted.insert(&key, &fresh);
		counts = unlisted.lookup(&key);
	}
	return counts;
}

/*
 * The end of a connection. One that the iterator has reported is listed already; and while a pass is being made, each is
 * listed, because the pass may be reporting it at this moment.
 */
static __always_inline int count_end(struct socket_record *record)
{
	struct socket_entry *entry = &record->entry;
	struct unlisted *counts;

	if (entry->reported_state || entry->owner_certainty != OWNER_EXACT || control(PASS))
		return 0;
	/* as it ended in tracking/connections.py: an error, an abort, or what never was established */
	if (record->error || record->state == TCP_SYN_SENT || record->state == TCP_ESTABLISHED ||
	    record->state == TCP_CLOSE_WAIT || !(entry->flags & (SOCKET_OUTBOUND | SOCKET_INBOUND)))
		return 0;
	if (may_list(END_INTERVAL_NS))
		return 0;
	counts = unlisted_of(&entry->owner, entry->netns);
	if (!counts)
		return 0;
	if (entry->flags & SOCKET_OUTBOUND)
		__sync_fetch_and_add(&counts->opened, 1);
	else
		__sync_fetch_and_add(&counts->accepted, 1);
	__sync_fetch_and_add(&counts->tx_bytes, record->tx_bytes);
	__sync_fetch_and_add(&counts->rx_bytes, record->rx_bytes);
	__sync_fetch_and_add(&counts->retransmits, record->retransmits);
	return 1;
}

/*
 * A DNS message over UDP, `offset` bytes into the packet and `bytes` long. A question that has been sent before stays
 * what it was then, and an answer is what its question was.
 */
static __always_inline int count_message(struct __sk_buff *skb, struct socket_entry *entry, u32 offset, u32 bytes,
					 int egress)
{
	u64 question[2] = {};
	struct unlisted *counts;
	struct asked_key key = {};
	struct asked *before;
	struct asked now = {};
	u8 head[4]; /* id, flags, rcode: RFC 1035 section 4.1.1 */
	int response;

	if (!entry || entry->owner_certainty != OWNER_EXACT || entry->flags & SOCKET_SHARED)
		return 0;
	if (bytes < DNS_HEADER_BYTES || bpf_skb_load_bytes(skb, offset, head, sizeof(head)))
		return 0;
	response = head[2] >> 7;
	if (response == egress) /* a server's side of the same port */
		return 0;
	key.socket_cookie = bpf_get_socket_cookie(skb);
	key.id = head[0] << 8 | head[1];
	before = asked.lookup(&key);
	if (!egress) {
		if (!before)
			return 0;
		now = *before;
		asked.delete(&key);
		if (now.listed)
			return 0;
		counts = unlisted_of(&entry->owner, entry->netns);
		if (!counts)
			return 0;
		__sync_fetch_and_add(&counts->answered, 1);
		if (head[3] & 15)
			__sync_fetch_and_add(&counts->failed, 1);
		return 1;
	}
	/* names that are alike in these bytes and in length would have to be asked for with the same id at once */
	if (bytes >= DNS_HEADER_BYTES + sizeof(question))
		bpf_skb_load_bytes(skb, offset + DNS_HEADER_BYTES, question, sizeof(question));
	now.question = question[0] * 31 + question[1] + bytes;
	if (before && before->question == now.question)
		return !before->listed;
	now.listed = may_list(QUERY_INTERVAL_NS);
	if (!now.listed) {
		counts = unlisted_of(&entry->owner, entry->netns);
		if (counts)
			__sync_fetch_and_add(&counts->queries, 1);
		else
			now.listed = 1;
	}
	asked.update(&key, &now);
	return !now.listed;
}
