/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * In a flood, queries and ends of sockets beyond so many a second are counted by process instead of listed one by one:
 * nobody could read them, and handing each over would take the CPU from the work that is watched. Nothing is left out of
 * the sums. Only what has one known owner beyond doubt is counted here.
 */

#define DUE_QUERIES 0
#define DUE_CONNECTIONS 1
#define DUE_SOCKETS 2
#define DUE_REPEATS 3   /* the same question again: apart, so that neither takes the room of the other */
#define DUE_SEGMENTS 4  /* of DNS over TCP */
#define DUE_MULTICAST 5 /* messages of multicast DNS */
#define DUE_REFUSALS 6
#define DUE_UNASKED 7
#define DUE_LONG 8      /* bytes of long messages */
#define DUE_FAILURES 9  /* connections that did not end well: apart too, because they tell more than others */
#define DUE_REQUESTS 10  /* of HTTP/1 and of databases */
#define DUE_HANDSHAKES 11 /* of TLS */
#define DUE_STREAMS 12 /* of HTTP/2: what its client sends, */
#define DUE_ANSWERS 13 /* and what its server does */
#define DUE_INITIALS_RECEIVED 14 /* packets that begin connections of QUIC, */
#define DUE_INITIALS_SENT 15 /* and those of this host's own clients: strangers choose how many the others are */
#define DUE_LOOKUPS 16 /* in C libraries */
#define DUE_KINDS 17

/* When the next one of each kind is due at the rate that is listed; ahead of the clock by what came faster. */
BPF_ARRAY(due_ns, u64, DUE_KINDS);
BPF_HASH(unlisted, struct unlisted_key, struct unlisted, 4096);
BPF_ARRAY(nothing_unlisted, struct unlisted, 1); /* zero: the stack has no room for it */

/*
 * Generic cell rate algorithm, ITU-T I.371 annex A: whether what takes `cost_ns` of the time there is comes no faster than
 * the clock, or no further ahead of it than `ahead_ns`. Two CPUs at once may both get in: so many more are listed.
 */
static __always_inline int may_pass(int kind, u64 now_ns, u64 cost_ns, u64 ahead_ns)
{
	u64 due, *next = due_ns.lookup(&kind);

	if (!cost_ns || !next)
		return 1;
	due = *next;
	if (due < now_ns)
		due = now_ns;
	else if (due - now_ns > ahead_ns)
		return 0;
	*next = due + cost_ns;
	return 1;
}

static __always_inline int may_list(int kind, u64 now_ns)
{
	int of_ends = kind == DUE_CONNECTIONS || kind == DUE_FAILURES || kind == DUE_SOCKETS;
	u64 interval_ns = control(of_ends ? END_INTERVAL_NS : QUERY_INTERVAL_NS), at_once = control(LISTED_AT_ONCE);

	if (kind == DUE_FAILURES) /* as many at once, then a third as fast: with its resets one takes twice the time of another */
		interval_ns *= 3;

	if (kind == DUE_SOCKETS) /* whose buffer is a quarter of the others' */
		at_once /= 4;

	/* a question over TCP takes two segments, the length in one of its own, and its answer two more */
	return may_pass(kind, now_ns, kind == DUE_SEGMENTS ? interval_ns / 4 : interval_ns,
			interval_ns * at_once);
}

/*
 * Where to count an end instead of listing it; 0 if it is listed, or if there is no room for one more process. What
 * a pass has reported is listed already; and while a pass is being made all is, because the pass may be reporting
 * it at this moment.
 */
static __always_inline struct unlisted *unlisted_end(struct socket_entry *entry, int kind)
{
	struct unlisted_key key = {};
	struct unlisted *counts;
	int only = 0;

	if (entry->reported_state || entry->owner_certainty != OWNER_EXACT || entry->flags & SOCKET_SHARED ||
	    control(PASS) || may_list(kind, bpf_ktime_get_ns()))
		return 0;
	key.start_boot_ns = entry->owner.start_boot_ns;
	key.pid = entry->owner.pid;
	key.netns = entry->netns;
	key.generation = control(GENERATION);
	if (kind != DUE_SOCKETS && entry->flags & SOCKET_INBOUND) {
		key.port = entry->local_port;
		key.family = entry->family;
	}
	counts = unlisted.lookup(&key);
	if (!counts) {
		struct unlisted *fresh = nothing_unlisted.lookup(&only);

		if (fresh)
			unlisted.insert(&key, fresh);
		counts = unlisted.lookup(&key);
		if (counts)
			counts->owner = entry->owner;
	}
	return counts;
}

/* As it ended in tracking/connections.py: with an error, an abort or an open request, or before it was established. */
static __always_inline int has_failed(struct socket_record *record)
{
	return record->error || record->state == TCP_SYN_SENT || record->state == TCP_ESTABLISHED ||
	       record->state == TCP_CLOSE_WAIT || record->requests != record->responses;
}

static __always_inline void count_requests(struct socket_record *record, struct unlisted *counts, int asks)
{
	u64 failed = record->failed_4xx + record->failed_5xx + record->requests - record->responses;

	__sync_fetch_and_add(asks ? &counts->requests : &counts->served, record->requests);
	if (!failed)
		return;
	__sync_fetch_and_add(asks ? &counts->requests_failed : &counts->served_failed, failed);
	if (record->database) /* whose errors have no status */
		return;
	__sync_fetch_and_add(asks ? &counts->requests_failed_4xx : &counts->served_failed_4xx, record->failed_4xx);
	__sync_fetch_and_add(asks ? &counts->requests_failed_5xx : &counts->served_failed_5xx, record->failed_5xx);
}

/* Whether the end of a connection was counted. */
static __always_inline int count_connection(struct socket_record *record)
{
	struct socket_entry *entry = &record->entry;
	int failed = has_failed(record);
	struct unlisted *counts;

	/* which requests of HTTP/2 have failed, and of databases those that were handed on, is known to nettop only */
	if (!(entry->flags & (SOCKET_OUTBOUND | SOCKET_INBOUND)) || entry->flags & SOCKET_OLD ||
	    record->request_waits || record->http2 || record->database & DATABASE_LISTED)
		return 0;
	counts = unlisted_end(entry, failed ? DUE_FAILURES : DUE_CONNECTIONS);
	if (!counts)
		return 0;
	if (entry->flags & SOCKET_OUTBOUND) {
		__sync_fetch_and_add(&counts->opened, 1);
		if (failed && !entry->established_ns)
			__sync_fetch_and_add(&counts->failed_connects, 1);
		__sync_fetch_and_add(&counts->asked, record->asked);
	} else {
		__sync_fetch_and_add(&counts->accepted, 1);
		__sync_fetch_and_add(&counts->was_asked, record->asked);
	}
	__sync_fetch_and_add(&counts->tcp_tx_bytes, record->tx_bytes);
	__sync_fetch_and_add(&counts->tcp_rx_bytes, record->rx_bytes);
	__sync_fetch_and_add(&counts->retransmits, record->retransmits);
	if (record->requests)
		count_requests(record, counts, record->requester == SPEAKER_LOCAL);
	return 1;
}

/* The same of a connect() that failed before it left. */
static __always_inline int count_unsent(struct socket_entry *entry)
{
	struct unlisted *counts = unlisted_end(entry, DUE_FAILURES);

	if (!counts)
		return 0;
	__sync_fetch_and_add(&counts->opened, 1);
	__sync_fetch_and_add(&counts->failed_connects, 1);
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
