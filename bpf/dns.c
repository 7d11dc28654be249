/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * DNS messages, as packets.c finds them: which questions wait for an answer, what goes on to nettop, and what is counted
 * instead because it comes too fast.
 *
 * An answer belongs to a question if it repeats its id and its question, and comes to the socket that asked from the
 * server that was asked (RFC 5452 section 9.1). A datagram from anybody else answers nothing.
 */

#define MULTICAST_DNS_PORT 5353
#define FIRST_MULTICAST_BYTE 224 /* RFC 5771; multicast IPv6 is ff00::/8 */
#define QUERY_IS_STALE_S 40      /* nettop waits for 5 s, and for a late answer 30 s more */
#define LISTED_IS_WORTH_S 16     /* for so much longer does a question keep its place if a row is waiting for its answer */

/*
 * Answers that nobody asked for: so many are handed on all the same, for what was pushed out of the table below. No more,
 * because whoever sends them chooses their size.
 */
#define UNASKED_INTERVAL_NS 10000000ull
#define UNASKED_AHEAD_NS (50 * UNASKED_INTERVAL_NS)

#define CAPTURE_BYTES 4096 /* the largest EDNS buffer that resolvers announce in practice */
/* What is longer shares 2 MB a second, 256 KB at a time: no more than a perf buffer of any size holds besides. */
#define LONG_BYTE_NS 500ull
#define LONG_AHEAD_NS ((256 << 10) * LONG_BYTE_NS)
/* A perf record's length is 16 bits wide (struct perf_event_header), and a multiple of 8 with its head and 4 bytes. */
#define LONGEST_PACKET (65528 - 8 - 4 - (int)sizeof(struct dns_packet))

/*
 * Numbers without a branch: the verifier follows each way of a branch to the end of the program, which took more of the
 * start than all else here.
 */
#define HIDE(number) asm volatile("" : "+r"(number)) /* or clang makes a branch of it */
#define TO_TOP_BIT(number) asm volatile("%0 >>= 63" : "+r"(number))

/* 1 if it is not 0. */
static __always_inline u64 is_set(u64 number)
{
	number |= -number;
	TO_TOP_BIT(number);
	return number;
}

/* A question, by what its answer must repeat. */
struct question {
	u64 socket_cookie; /* 0: none */
	u64 server[2];
	u32 content;       /* of the first bytes of its name */
	u32 asked_s;       /* the last time */
	u16 id;
	u16 server_port;   /* 0: it went to a group, and any member may answer */
	u16 bytes;
	u8 state;
	u8 awaited;        /* how often it was sent, less the answers that came */
	u32 whole;         /* of all of it, type included, that fits into a struct beginning */
	u32 pad;
};

#define QUESTION_LISTED 1   /* it was handed on, and so is its answer */
#define QUESTION_ANSWERED 2

#define BUCKETS 8192
#define QUESTIONS_IN_A_BUCKET 4

/*
 * All questions that wait, with nothing to lock or to allocate. Where a bucket is full one gives way, which is counted.
 * Two CPUs in one bucket at once can at worst do the same.
 */
struct bucket {
	struct question questions[QUESTIONS_IN_A_BUCKET];
};
BPF_ARRAY(waiting, struct bucket, BUCKETS);

/* The datagram that packet_ingress let through last on this CPU, in case that its socket has no room for it. */
struct arrival {
	u64 socket;
	u64 payload_bytes; /* as counted for the socket */
	u64 packets;       /* likewise */
	struct far_end from;
	u64 socket_cookie;
	u64 server[2];
	u32 netns;
	u16 id;
	u16 server_port;
	u8 message; /* ARRIVAL_* */
	u8 failed;
	u8 ip_version;
	u8 is_of_flow; /* `from` is set: it is not the remote end that the socket's entry has */
};
BPF_PERCPU_ARRAY(arrivals, struct arrival, 1);

#define ARRIVAL_HANDED_ON 1 /* an answer that nettop has been told of */
#define ARRIVAL_COUNTED 2   /* an answer that is in the counters of its socket */

static __always_inline struct arrival *arrives(void *sk)
{
	int only = 0;
	struct arrival *arrival = arrivals.lookup(&only);

	if (arrival) { /* as it always is */
		arrival->socket = (u64)sk;
		arrival->payload_bytes = 0;
		arrival->message = 0;
		arrival->packets = 0;
		arrival->is_of_flow = 0;
	}
	return arrival;
}

static __always_inline void forget_arrival(void)
{
	arrives(0);
}

static __always_inline struct bucket *bucket_of(u64 cookie, u16 id)
{
	u32 index = (id ^ (u32)cookie * 0x9e37) & (BUCKETS - 1);

	return waiting.lookup(&index);
}

static __always_inline struct question *find_question(struct bucket *bucket, u64 cookie, u16 id, u16 port, u64 *server,
						      int answered)
{
	u64 found = QUESTIONS_IN_A_BUCKET, number, place;
	struct question *known;

#pragma clang loop unroll(full)
	for (number = 0; number < QUESTIONS_IN_A_BUCKET; number++) {
		struct question *each = &bucket->questions[number];
		u64 other_server = (each->server[0] ^ server[0]) | (each->server[1] ^ server[1]) | (each->server_port ^ port);
		u64 other = (each->socket_cookie ^ cookie) | (each->id ^ id);

		if (answered)
			other_server = is_set(other_server) & is_set(each->server_port);
		other = is_set(other | other_server);
		found = found * other + number * (1 - other);
	}
	place = found;
	HIDE(place);
	known = &bucket->questions[place & (QUESTIONS_IN_A_BUCKET - 1)];
	if (found == QUESTIONS_IN_A_BUCKET)
		known = 0;
	HIDE(known);
	return known;
}

/* The place of the question that is worth least: none, an answered one, an old one. */
static __always_inline struct question *make_room(struct bucket *bucket, u32 now_s)
{
	u64 least = ~0ull >> 1, number;
	struct question *room;

#pragma clang loop unroll(full)
	for (number = 0; number < QUESTIONS_IN_A_BUCKET; number++) {
		struct question *each = &bucket->questions[number];
		u64 waits = is_set(each->socket_cookie) & (is_set(each->state & QUESTION_ANSWERED) ^ 1);
		u64 listed = each->state & QUESTION_LISTED;
		u64 less, is_less;

		/* with its number in the lowest bits */
		less = ((each->asked_s + listed * LISTED_IS_WORTH_S) * waits << 2 | number) - least;
		is_less = less;
		TO_TOP_BIT(is_less);
		least += less & -is_less;
	}
	HIDE(least);
	room = &bucket->questions[least & (QUESTIONS_IN_A_BUCKET - 1)];
	if (least >> 2 && room->asked_s + QUERY_IS_STALE_S > now_s)
		count_loss(DNS_QUESTIONS_PUSHED_OUT, 1);
	return room;
}

/* Of the bytes in a word that come before the first zero, the bits; of all, if there is none. */
static __always_inline u64 before_zero(u64 word)
{
	u64 zeros = (word - 0x0101010101010101ull) & ~word & 0x8080808080808080ull;

	return (zeros & -zeros) - 1;
}

/* How a message over UDP begins. */
struct beginning {
	u32 unused;
	u8 head[DNS_HEADER_BYTES]; /* id, flags, rcode, number of questions: RFC 1035 section 4.1.1 */
	u64 words[6];              /* of the question */
	u32 rest;
};

#define BEGINNING_BYTES 64 /* a power of two, for the verifier's eyes */

static __always_inline void read_beginning(struct __sk_buff *skb, u32 offset, u64 bytes, struct beginning *beginning)
{
	u64 last = bytes - 1;

	if (last > BEGINNING_BYTES - 1)
		last = BEGINNING_BYTES - 1;
	HIDE(last);
	bpf_skb_load_bytes(skb, offset, beginning->head, (last & (BEGINNING_BYTES - 1)) + 1);
}

/* The same for the same beginning of a name, in capitals or not (RFC 1035 section 2.3.3), whatever follows the name. */
static __always_inline u32 content_of(struct beginning *beginning)
{
	u64 first = before_zero(beginning->words[0]), word;

	word = (beginning->words[0] & first) | 0x2020202020202020ull;
	first = beginning->words[1] & before_zero(beginning->words[1]) & (is_set(~first) - 1);
	first |= 0x2020202020202020ull;
	return word * 31 + (word >> 32) * 17 + first * 7 + (first >> 32);
}

/* Of the whole question, so that nothing but the same message sent again is taken for a repeat. */
static __always_inline u32 whole_of(struct beginning *beginning)
{
	u64 sum = beginning->rest, number;

#pragma clang loop unroll(full)
	for (number = 0; number < 6; number++)
		sum = (sum ^ beginning->words[number]) * 0x9e3779b97f4a7c15ull;
	return sum >> 32;
}

/* A record that is being made, and what it is made from: the stack has no room for them. See descriptors_at_hand. */
struct dns_room {
	struct dns_packet packet;
	struct beginning beginning;
};
struct dns_rooms {
	u64 taken;
	struct dns_room rooms[NESTED];
};
BPF_PERCPU_ARRAY(dns_rooms, struct dns_rooms, 1);

/* The sk_buff as a plain address, by the same way as packet_socket(). */
static __always_inline void *packet_buffer(struct __sk_buff *skb)
{
	*(volatile u64 *)&skb->cb[0] = (u64)skb;
	return (void *)*(volatile u64 *)&skb->cb[0];
}

/*
 * NAT rewrites a question before packet_egress sees it, and its answer back before packet_ingress does. What the socket
 * asked is in the connection tracker, as that of the first packet (NF_CT_DIRECTION_ORIGINAL).
 */
static __always_inline void *tracked_connection(struct __sk_buff *skb, int *reply)
{
	u64 connection = 0;

#ifdef OFFSET_nf_conn_tuplehash
	READ(connection, packet_buffer(skb), OFFSET_sk_buff__nfct);
	*reply = (connection & 7) > 2; /* IP_CT_IS_REPLY and beyond, enum ip_conntrack_info */
#endif
	return (void *)(connection & ~7ull);
}

static __always_inline u32 is_version_6(struct dns_packet *event)
{
	return event->ip_version >> 1 & 1; /* of 4 it is 0 */
}

static __always_inline u32 address_bytes(struct dns_packet *event)
{
	return 4 + is_version_6(event) * 12;
}

#define SOCK_DST_PORT 48 /* offset of bpf_sock.dst_port; before Linux 5.18 only all four bytes of it may be read */

/*
 * Whether a packet that goes out to another port was sent to a DNS port, as with Docker's resolver, where NAT rewrites both.
 * Nearly every socket is connected and has its port at hand. Only what is not is looked up in the connection tracker.
 */
static __always_inline int asks_behind_nat(struct __sk_buff *skb, void *sk)
{
#ifdef OFFSET_nf_conn_tuplehash
	char *connection;
	int reply = 0;
	u32 port = 0;

	LOAD(port, sk, SOCK_DST_PORT);
	if (!port) {
		connection = tracked_connection(skb, &reply);
		if (!connection || reply)
			return 0;
		READ(port, connection, OFFSET_nf_conn_tuplehash + OFFSET_nf_conntrack_tuple_hash_tuple_dst_u);
	}
	return IS_DNS_PORT(HOST_ORDER(port));
#else
	return 0;
#endif
}

/* `via` is left where the connection tracker knows nothing. */
static __always_inline void read_asked(struct __sk_buff *skb, struct dns_packet *event)
{
#ifdef OFFSET_nf_conn_tuplehash
	int reply = 0;
	char *connection = tracked_connection(skb, &reply);
	u16 port = 0;

	if (!connection || reply)
		return;
	connection += OFFSET_nf_conn_tuplehash;
	event->via_port = event->server_port;
	__builtin_memcpy(event->via_address, event->server_address, ADDRESS_BYTES);
	READ(port, connection, OFFSET_nf_conntrack_tuple_hash_tuple_dst_u);
	event->server_port = HOST_ORDER(port);
	read_kernel(event->server_address, address_bytes(event),
		    connection + OFFSET_nf_conntrack_tuple_hash_tuple_dst_u3);
#endif
}

/* From the network header: the source at once, and behind it the destination. */
static __always_inline void read_address(struct __sk_buff *skb, struct dns_packet *event, u8 *address, int destination)
{
	u32 bytes = address_bytes(event), at = 12 - is_version_6(event) * 4;

	bpf_skb_load_bytes(skb, destination ? at + bytes : at, address, bytes);
}

static __always_inline void read_server(struct __sk_buff *skb, struct dns_packet *event, u32 ports, int egress)
{
	u16 source = HOST_ORDER(ports & 0xffff), destination = HOST_ORDER(ports >> 16);

	event->client_port = egress ? source : destination;
	event->server_port = egress ? destination : source;
	read_address(skb, event, event->server_address, egress);
	if (egress)
		read_asked(skb, event);
}

static __always_inline int is_countable(struct socket_entry *entry)
{
	return entry && entry->owner_certainty == OWNER_EXACT && !(entry->flags & SOCKET_SHARED);
}

/* Whether a question is counted and not handed on. */
static __always_inline int count_question(struct bucket *bucket, struct socket_entry *entry, struct dns_packet *event,
					  struct beginning *beginning)
{
	u32 content = content_of(beginning), whole = whole_of(beginning);
	u32 group_byte = FIRST_MULTICAST_BYTE + is_version_6(event) * (0xff - FIRST_MULTICAST_BYTE);
	u64 to_one = event->server_address[0] - (u64)group_byte, server[2];
	u32 now_s = event->time_ns >> 30;
	struct question *room;
	int listed, again;
	u16 port;

	TO_TOP_BIT(to_one);
	server[0] = ((u64 *)event->server_address)[0] & -to_one;
	server[1] = ((u64 *)event->server_address)[1] & -to_one;
	port = event->server_port & -to_one;
	room = find_question(bucket, event->socket_cookie, event->txid, port, server, 0);
	again = room && !(room->state & QUESTION_ANSWERED) && room->whole == whole &&
		room->bytes == (u16)event->payload_bytes;
	if (again) {
		room->asked_s = now_s;
		if (room->awaited < 255)
			room->awaited++;
		if (!(room->state & QUESTION_LISTED))
			return 1;
	}
	listed = may_list(again ? DUE_REPEATS : DUE_QUERIES, event->time_ns) || (!again && !is_countable(entry));
	if (again) {
		if (!listed)
			count_loss(DNS_REPEATS, 1);
		return !listed;
	}
	/* the row of the older one waits in vain: nettop sees it from this if it does not see the newer one */
	if (room && !listed && room->state == QUESTION_LISTED)
		count_loss(DNS_QUESTIONS_PUSHED_OUT, 1);
	if (!room)
		room = make_room(bucket, now_s);
	room->socket_cookie = 0;
	room->server[0] = server[0];
	room->server[1] = server[1];
	room->server_port = port;
	room->id = event->txid;
	room->content = content;
	room->whole = whole;
	room->bytes = event->payload_bytes;
	room->asked_s = now_s;
	room->awaited = 1;
	room->state = listed ? QUESTION_LISTED : 0;
	room->socket_cookie = event->socket_cookie;
	if (!listed && entry)
		__sync_fetch_and_add(&entry->unlisted_queries, 1);
	return !listed;
}

/*
 * Whether the answer is of a question that waits, which then waits no longer. An error (REFUSED, FORMERR) may come back
 * without its question. What is shorter than a header is no answer; its head is zero here.
 */
static __always_inline int answers(struct question *known, struct beginning *beginning)
{
	if (!known || !known->awaited)
		return 0;
	return beginning->head[5] ? known->content == content_of(beginning) : beginning->head[3] & 15;
}

/* Remember an answer that is let through, and count it if its question was counted; whether it goes no further. */
static __always_inline int take_answer(struct question *known, struct socket_entry *entry, struct dns_packet *event,
				       struct arrival *arrival, int failed)
{
	u8 state = known->state;

	known->awaited--;
	if (state & QUESTION_ANSWERED) /* it was sent more than once, and is answered as often */
		return 1;
	known->state = state | QUESTION_ANSWERED;
	arrival->socket_cookie = event->socket_cookie;
	arrival->server[0] = ((u64 *)event->server_address)[0];
	arrival->server[1] = ((u64 *)event->server_address)[1];
	arrival->netns = event->netns;
	arrival->id = event->txid;
	arrival->server_port = event->server_port;
	arrival->failed = failed;
	arrival->ip_version = event->ip_version;
	arrival->message = state & QUESTION_LISTED ? ARRIVAL_HANDED_ON : ARRIVAL_COUNTED;
	if (state & QUESTION_LISTED)
		return 0;
	if (entry) {
		__sync_fetch_and_add(&entry->unlisted_answered, 1);
		__sync_fetch_and_add(&entry->unlisted_failed, failed);
	}
	return 1;
}

/*
 * Whether a DNS message over UDP, `offset` bytes into the packet, goes no further.
 *
 * The order: what the server's side of a port sends or gets is left first, before it can take a place in the table. A
 * question is entered before its record is submitted, so that the answer finds it however fast it comes. An answer is
 * compared with the questions before any limit: those that were asked for never share a limit with those that nobody
 * asked for, whose sender chooses how many there are.
 */
static __always_inline int count_message(struct __sk_buff *skb, struct socket_entry *entry, struct dns_packet *event,
					 u32 offset, struct arrival *arrival, int egress)
{
	struct beginning *beginning = &((struct dns_room *)event)->beginning;
	u8 *head = beginning->head;
	struct question *known;
	struct bucket *bucket;

	__builtin_memset(beginning, 0, sizeof(*beginning));
	if (event->payload_bytes >= DNS_HEADER_BYTES)
		read_beginning(skb, offset, event->payload_bytes, beginning);
	else if (!egress)
		head[2] = 0x80;
	if (head[2] >> 7 == egress) /* a server's side of the same port */
		return 1;
	event->txid = head[0] << 8 | head[1];
	bucket = bucket_of(event->socket_cookie, event->txid);
	if (!bucket)
		return 0;
	if (egress)
		return count_question(bucket, entry, event, beginning);
	known = find_question(bucket, event->socket_cookie, event->txid, event->server_port, (u64 *)event->server_address, 1);
	if (answers(known, beginning))
		return take_answer(known, entry, event, arrival, (head[3] & 15) != 0);
	/* nobody asked, as far as is known here: some are handed on, all are counted, here or there */
	if (may_pass(DUE_UNASKED, event->time_ns, UNASKED_INTERVAL_NS, UNASKED_AHEAD_NS))
		return 0;
	count_loss(DNS_UNASKED, 1);
	return 1;
}

/* Whether the message is one too many. Every kind has a limit of its own: none takes the room of another. */
static __always_inline int too_many(struct __sk_buff *skb, struct socket_entry *udp, struct dns_packet *event, u32 offset,
				    struct arrival *arrival, int egress)
{
	int kind = DUE_SEGMENTS;

	if (event->protocol == IPPROTO_UDP) {
		/* RFC 6762 section 6: to a group, from whoever knows; every id is 0 */
		if (event->client_port != MULTICAST_DNS_PORT || event->server_port != MULTICAST_DNS_PORT)
			return count_message(skb, udp, event, offset, arrival, egress);
		kind = DUE_MULTICAST;
	}
	if (may_list(kind, event->time_ns))
		return 0;
	count_loss(DNS_LEFT_OUT, 1);
	return 1;
}

/* An answer to a socket that is known to be out of scope, or that nobody in scope has used, is nobody's. */
static __always_inline int socket_in_scope(struct socket_entry *udp, int egress)
{
#ifdef SCOPE_BY_PROCESS
	if (!udp || udp->flags & SOCKET_SHARED)
		return 1;
	return udp->owner_certainty == OWNER_UNKNOWN ? egress : process_in_scope(&udp->owner);
#else
	return 1;
#endif
}

static __always_inline void find_asking(struct process_id *asking, struct socket_entry *entry, void *sk); /* packets.c */

static __always_inline int identify_asker(void *sk, struct socket_entry *udp, struct dns_packet *event)
{
	u64 key = (u64)sk;

	find_asking(&event->owner, udp ? udp : sockets.lookup(&key), sk);
	return process_in_scope(&event->owner);
}

/* How much of the payload is captured: as a rule all of it. */
static __always_inline u32 capture(struct dns_packet *event)
{
	u32 most = LONGEST_PACKET - event->payload_offset, bytes = event->payload_bytes;

	if (bytes <= CAPTURE_BYTES)
		return bytes;
	if (bytes > most)
		bytes = most;
	if (!may_pass(DUE_LONG, event->time_ns, (bytes - CAPTURE_BYTES) * LONG_BYTE_NS, LONG_AHEAD_NS))
		bytes = CAPTURE_BYTES;
	return bytes;
}

static __always_inline void submit_message(struct __sk_buff *skb, struct dns_packet *event)
{
	int refused;

	event->captured_bytes = capture(event);
	/* on a line of its own: BCC's rewriting adds a semicolon */
	refused = dns_events.perf_submit_skb(skb, event->payload_offset + event->captured_bytes, event, sizeof(*event));
	if (refused)
		spill_dns(refused, skb, event);
}

/*
 * The order: the scope comes before the limits, so that other processes' floods take no room from what is watched; but a
 * process that only the task tells is looked for after them, because that costs the most and a flood would pay it for
 * each packet. A message is counted or limited before its payload is copied, for the same reason. The time is read once
 * and first: every limit and the record have the same.
 */
static __always_inline void report_message(struct __sk_buff *skb, void *sk, struct packet *packet, u32 header_bytes,
					   u32 ports, struct socket_entry *udp, struct arrival *arrival,
					   struct dns_packet *event, int egress)
{
	u32 offset = packet->l4_offset + header_bytes, length = skb->len;
	u64 protocol = packet->protocol;

	if (length <= offset || !socket_in_scope(udp, egress))
		return;
	event->netns = udp ? udp->netns : netns_of(sk, UNTYPED);
	if (!netns_in_scope(event->netns))
		return;
	event->time_ns = bpf_ktime_get_ns();
	FORGET(protocol, event->time_ns);
	event->query = egress;
#ifdef LOOKUPS
	event->has_lookup = 1;
#endif
	event->protocol = protocol;
	event->ip_version = packet->version;
	event->payload_offset = offset;
	event->payload_bytes = length - offset;
	event->socket_cookie = bpf_get_socket_cookie(skb);
	read_server(skb, event, ports, egress);
	if (!IS_DNS_PORT(event->server_port))
		return;
#ifdef LOOKUPS
	if (egress)
		find_lookup(sk, event);
#endif
	if (too_many(skb, udp, event, offset, arrival, egress))
		return;
	if (egress && !identify_asker(sk, udp, event))
		return;
#ifdef LOOKUPS
	keep_lookup(skb, event);
#endif
	read_address(skb, event, event->client_address, !egress);
	if (event->protocol == IPPROTO_TCP) {
		bpf_skb_load_bytes(skb, packet->l4_offset + 4, &event->tcp_seq, 4);
		event->tcp_seq = __builtin_bswap32(event->tcp_seq);
	}
	submit_message(skb, event);
}

static __always_inline void report_dns(struct __sk_buff *skb, void *sk, struct packet *packet, u32 header_bytes,
				       u32 ports, struct socket_entry *udp, struct arrival *arrival, int egress)
{
	struct dns_rooms *all;
	struct dns_packet *event;
	int only = 0;
	u64 taken;

	all = dns_rooms.lookup(&only);
	if (!all)
		return;
	taken = *(volatile u64 *)&all->taken;
	if (taken >= NESTED)
		return;
	*(volatile u64 *)&all->taken = taken + 1;
	ONE_OF(event, all->rooms, taken); /* struct dns_room begins with it */
	__builtin_memset(event, 0, sizeof(*event));
	report_message(skb, sk, packet, header_bytes, ports, udp, arrival, event, egress);
	*(volatile u64 *)&all->taken = taken;
}

/*
 * Call this where the kernel says that it drops a datagram because its socket has no room, on the CPU where
 * packet_ingress has just let it through: the question waits on.
 */
static __always_inline void dns_answer_dropped(void *ctx, void *sk)
{
	int only = 0;
	struct arrival *arrival = arrivals.lookup(&only);
	struct dns_packet event = {};
	struct socket_entry *entry;
	struct question *known;
	struct bucket *bucket;
	u64 key = (u64)sk;
	u8 message;

	if (!arrival || arrival->socket != key || !arrival->message)
		return;
	message = arrival->message;
	arrival->message = 0;
	bucket = bucket_of(arrival->socket_cookie, arrival->id);
	if (!bucket)
		return;
	known = find_question(bucket, arrival->socket_cookie, arrival->id, arrival->server_port, arrival->server, 1);
	if (known && known->state & QUESTION_ANSWERED) {
		known->state &= ~QUESTION_ANSWERED;
		if (known->awaited < 255)
			known->awaited++;
	}
	if (message == ARRIVAL_COUNTED) {
		entry = sockets.lookup(&key);
		if (entry) {
			__sync_fetch_and_add(&entry->unlisted_answered, -1);
			if (arrival->failed)
				__sync_fetch_and_add(&entry->unlisted_failed, -1);
		}
		return;
	}
	event.time_ns = bpf_ktime_get_ns();
	event.kind = DNS_ANSWER_DROPPED;
	event.protocol = IPPROTO_UDP;
	event.socket_cookie = arrival->socket_cookie;
	event.netns = arrival->netns;
	event.txid = arrival->id;
	event.ip_version = arrival->ip_version;
	event.server_port = arrival->server_port;
	__builtin_memcpy(event.server_address, arrival->server, sizeof(event.server_address));
	spill_if_refused(dns_events.perf_submit(ctx, &event, sizeof(event)), LOST_DNS_EVENTS, &event, sizeof(event));
}

#define ECONNREFUSED 111 /* port unreachable: nobody listens there */

/*
 * inet_sk_error_report(sk), Linux 5.14 and later: an ICMP error has come to a socket, and whoever waits on it is woken
 * with it: one that is connected, which says what server that was, or that has asked for errors (IP_RECVERR). Of TCP see
 * connect.c.
 */
int socket_error(struct bpf_raw_tracepoint_args *ctx)
{
	void *sk = (void *)ctx->args[0];
	struct dns_packet event = {};
	struct socket_entry *entry;
	u64 key = (u64)sk;
	u16 protocol = 0, port = 0;
	u32 error = 0;

	LOAD(protocol, sk, OFFSET_sock_sk_protocol);
	if (protocol == IPPROTO_TCP)
		note_rejection(sk);
	if (protocol != IPPROTO_UDP)
		return 0;
	LOAD(error, sk, OFFSET_sock_sk_err);
	entry = sockets.lookup(&key);
	if (entry && error && error != ECONNABORTED)
		count_of_socket(key, entry, ICMP_RECEIVED, error);
	LOAD(port, sk, OFFSET_sock_common_skc_dport);
	event.server_port = HOST_ORDER(port);
	if (!IS_DNS_PORT(event.server_port) || error != ECONNREFUSED)
		return 0;
	event.netns = netns_of(sk, TYPED);
	if (!netns_in_scope(event.netns) || !socket_in_scope(entry, 0))
		return 0;
	event.time_ns = bpf_ktime_get_ns();
	if (!may_list(DUE_REFUSALS, event.time_ns)) {
		count_loss(DNS_LEFT_OUT, 1);
		return 0;
	}
	event.kind = DNS_REFUSED;
	event.protocol = IPPROTO_UDP;
	LOAD(event.socket_cookie, sk, OFFSET_sock_common_skc_cookie);
	event.ip_version = read_far_address(event.server_address, sk);
	spill_if_refused(dns_events.perf_submit(ctx, &event, sizeof(event)), LOST_DNS_EVENTS, &event, sizeof(event));
	return 0;
}
