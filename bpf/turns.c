/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Whose turn it is on a TCP connection, and how long the answers took: from the order in which the two ends send payload,
 * of any protocol, encrypted or not, without looking into it. Called from the packet programs (packets.c), because nothing
 * else tells it: the kernel's own times of the last segments are those of acknowledgements too, and as coarse as its ticks.
 *
 * One end asks: the one that connected. A turn begins when the asking end sends after the other, or first, and is answered
 * when the other end sends again. What is sent again is no new turn.
 *
 * This runs for every packet with payload, so the slots lie in an array, whose look-up is compiled into the program; a
 * look-up in the hash `sockets` would double the cost.
 */

#define TURN_SLOTS_BITS 17 /* as many as `sockets` holds by default; 8 MB */
#define TURN_PLACES 8      /* where a socket may have its slot: of 50,000 sockets one in 500 finds none, of 20,000 one in 200,000 */
#define ASKER 3            /* the bits of turn_slot.born that say who asks */
#define TURN_ASKER_GUESSED 128
#define TURN_ENDS_KNOWN(egress) (8 << (egress))
#define TURN_TUNNEL 4      /* what follows is another protocol */
#define TURN_PLAIN 8       /* one request waits, of which nothing is to be told but that it was answered */
#define TURN_HELLO 16      /* from here on three bits: how many messages of a handshake of TLS were handed on */
#define TURN_HTTP2 128     /* frames are walked: see http2.c */
#define TURN_DATABASE (TURN_TUNNEL | TURN_HTTP2) /* neither of the two: see databases.c */

/*
 * Claimed with the entry in `sockets`, and given back with it, by code that knows that the socket exists. A packet only
 * writes to the slot of its socket.
 */
struct turn_slot {
	u64 socket;   /* its kernel address; 0: free */
	u64 spoke_ns; /* when whoever spoke last sent or received payload last */
	u64 answers_ns;
	u32 born;     /* the low half of seen_ns: the address alone may be of a later socket; and who asks, in one store */
	u32 ends[2];  /* sequence numbers behind the payload that was received, and sent, so far */
	u32 asked;
	u32 slowest_us;
	u32 answers_us[RECENT_ANSWERS]; /* the newest in the place of the oldest, by the number of the question */
	u8 speaker;
	u8 place;      /* of those that its socket may have; TURN_ASKER_GUESSED, and TURN_ENDS_KNOWN of what was received and sent */
	u8 unfinished; /* requests.c: in which direction a head goes on in the next segment; TURN_TUNNEL, TURN_PLAIN, TURN_HELLO, TURN_HTTP2, TURN_DATABASE */
	u8 answers;    /* requests.c: so many more than the exchange says */
};
_Static_assert(sizeof(struct turn_slot) == 64, "turn_slot");
#define PAGE_ALIGNED (1 << 10) /* BPF_F_MMAPABLE: an element of 64 bytes is a cache line then, and not half of two */
BPF_F_TABLE("array", int, struct turn_slot, turns, 1 << TURN_SLOTS_BITS, PAGE_ALIGNED);

/*
 * Payload that came to a socket without a slot. With the acknowledgement that completes a handshake it belongs to a socket
 * that is only being made, right after this, on this CPU; the packet program sees the listener.
 */
struct first_words {
	u64 time_ns;
	u32 begin;
	u32 end;
	u8 requests; /* how many they are, see requests.c */
	u8 listed;
	u8 method;
	u8 with_syn; /* Fast Open, if the listener takes it */
	u8 hello;    /* of TLS, which was handed on */
	u8 pad[3];
};
BPF_PERCPU_ARRAY(first_words, struct first_words, 1);

#ifdef REQUESTS /* requests.c */
static __always_inline void claim_first_request(struct turn_slot *slot, u64 socket, struct first_words *first);
static __always_inline void claim_fast_open(struct turn_slot *slot, u64 socket);
static __always_inline void read_requests(struct socket_record *record, struct turn_slot *slot);
static __always_inline void forget_frames(u64 socket); /* http2.c */
#endif

static __always_inline u32 turn_index(u64 socket)
{
	return ((u32)(socket >> 6) * 0x9e3779b1) >> (32 - TURN_SLOTS_BITS); /* sockets are aligned to cache lines */
}

static __always_inline struct turn_slot *turn_slot_at(u64 socket, u32 place)
{
	u32 index = turn_index(socket) ^ place;

	return turns.lookup(&index);
}

static __always_inline struct turn_slot *find_turn_slot(u64 socket)
{
	struct turn_slot *slot;
	u32 place;

#pragma clang loop unroll(full)
	for (place = 0; place < TURN_PLACES; place++) {
		slot = turn_slot_at(socket, place);
		if (slot && slot->socket == socket)
			return slot;
	}
	return 0;
}

static __always_inline u32 turn_born(u64 seen_ns, u8 asker)
{
	return ((u32)seen_ns & ~ASKER) | asker;
}

/* The slot that a socket may have: that of an earlier one at its address, a free one, or one whose socket is gone. */
static __always_inline struct turn_slot *free_turn_slot(u64 socket)
{
	struct turn_slot *slot = find_turn_slot(socket);
	u64 other;
	u32 place;

	if (slot)
		return slot;
#pragma clang loop unroll(full)
	for (place = 0; place < TURN_PLACES; place++) {
		slot = turn_slot_at(socket, place);
		if (slot && !slot->socket) {
			slot->place = place;
			return slot;
		}
	}
#pragma clang loop unroll(full)
	for (place = 0; place < TURN_PLACES; place++) {
		slot = turn_slot_at(socket, place);
		if (!slot)
			break;
		other = slot->socket;
		if (!sockets.lookup(&other)) { /* its end was missed */
			slot->place = place;
			return slot;
		}
	}
	return 0;
}

/* For a socket whose entry has just been made. 0 where there is no room: its turns stay unknown. */
static __always_inline struct turn_slot *claim_turns(u64 socket, u64 seen_ns, u8 asker)
{
	struct turn_slot *slot = free_turn_slot(socket);

	if (!slot) {
		count_loss(TURNS_WITHOUT_ROOM, 1);
		return 0;
	}
	/* nobody else finds the slot meanwhile; should another CPU claim it at this moment, `born` tells whose it has become */
	slot->socket = 0;
	slot->born = turn_born(seen_ns, asker);
	slot->spoke_ns = slot->answers_ns = 0;
	slot->asked = slot->slowest_us = 0;
	slot->speaker = SPEAKER_NOBODY;
	slot->place &= TURN_PLACES - 1;
	slot->unfinished = slot->answers = 0;
	slot->socket = socket;
	return slot;
}

/* A connection that is made by connect(). */
static __always_inline void claim_turns_outbound(u64 socket, u64 seen_ns)
{
	claim_turns(socket, seen_ns, SPEAKER_LOCAL);
}

/*
 * A listener's child, while it becomes established. Its first words may have come with the packet that does that. One that
 * has received payload before (Fast Open) may have answered too: nobody knows.
 */
static __always_inline void claim_turns_inbound(u64 socket, u64 seen_ns)
{
	struct first_words *first;
	struct turn_slot *slot;
	u64 received = 0;
	u32 next = 0;
	int only = 0;

	READ(received, socket, OFFSET_tcp_sock_bytes_received);
	if (received) {
#ifdef REQUESTS
		slot = claim_turns(socket, seen_ns, SPEAKER_NOBODY); /* its requests are followed all the same */
		if (slot)
			claim_fast_open(slot, socket);
#endif
		return;
	}
	slot = claim_turns(socket, seen_ns, SPEAKER_REMOTE);
	first = first_words.lookup(&only);
	if (!slot || !first || !first->time_ns)
		return;
	READ(next, socket, OFFSET_tcp_sock_rcv_nxt);
	if (first->begin == next) {
		slot->ends[0] = first->end;
		slot->place |= TURN_ENDS_KNOWN(0);
		slot->asked = 1;
		slot->speaker = SPEAKER_REMOTE;
		slot->spoke_ns = first->time_ns;
#ifdef REQUESTS
		claim_first_request(slot, socket, first);
#endif
	}
	first->time_ns = 0;
}

/*
 * A connection older than nettop. A listener's child has the listener's limit of waiting connections, one that was made by
 * connect() has none; where nettop knows of a listener that allows none, it takes nothing from here.
 */
static __always_inline void claim_turns_old(u64 socket, u64 seen_ns)
{
	struct turn_slot *slot;
	u32 most_waiting = 0;

	READ(most_waiting, socket, OFFSET_sock_sk_max_ack_backlog);
	slot = claim_turns(socket, seen_ns, most_waiting ? SPEAKER_REMOTE : SPEAKER_LOCAL);
	if (!slot)
		return;
	READ(slot->ends[0], socket, OFFSET_tcp_sock_rcv_nxt);
	READ(slot->ends[1], socket, OFFSET_tcp_sock_snd_nxt);
	slot->place |= TURN_ENDS_KNOWN(0) | TURN_ENDS_KNOWN(1) | TURN_ASKER_GUESSED;
}

/* What is known of the turns of a socket. Its asker stays SPEAKER_NOBODY where nothing is. */
static __always_inline void read_turns(struct socket_record *record, struct turn_slot *slot)
{
	if (!slot || slot->born != turn_born(record->entry.seen_ns, slot->born & ASKER))
		return;
	record->spoke_ns = slot->spoke_ns;
	record->answers_ns = slot->answers_ns;
	record->asked = slot->asked;
	record->slowest_us = slot->slowest_us;
	__builtin_memcpy(record->answers_us, slot->answers_us, sizeof(slot->answers_us));
	record->speaker = slot->speaker;
	record->asker = slot->born & ASKER;
#ifdef REQUESTS
	read_requests(record, slot);
#endif
}

/* At the end of a socket: the last of its turns. */
static __always_inline void give_turns_back(struct socket_record *record)
{
	struct turn_slot *slot = find_turn_slot(record->socket);

	if (!slot)
		return;
	read_turns(record, slot);
#ifdef REQUESTS
	if ((slot->unfinished & TURN_DATABASE) == TURN_HTTP2)
		forget_frames(record->socket);
#endif
	slot->socket = 0;
}

static __always_inline u64 passed_ns(u64 from_ns, u64 to_ns)
{
	return (s64)(to_ns - from_ns) < 0 ? 0 : to_ns - from_ns; /* the other CPU was quicker */
}

/* The most that there can be, of more than an hour. */
static __always_inline u32 microseconds(u64 ns)
{
	u64 us = ns / 1000;

	return us > 0xffffffff ? 0xffffffff : us;
}

static __always_inline void answered(struct turn_slot *slot, u64 took_ns)
{
	u32 us = microseconds(took_ns);

	slot->answers_ns += took_ns;
	if (us > slot->slowest_us)
		slot->slowest_us = us;
	slot->answers_us[slot->asked & (RECENT_ANSWERS - 1)] = us;
}

/* Payload of a socket that ends before this sequence number. Returns whether a turn begins with it. */
static __always_inline u32 speaks(struct __sk_buff *skb, struct turn_slot *slot, u32 end, int egress)
{
	u8 known = TURN_ENDS_KNOWN(egress), who = egress ? SPEAKER_LOCAL : SPEAKER_REMOTE, asker = slot->born & ASKER;
	u32 begins;
	u64 now;

	if (slot->place & known && (s32)(end - slot->ends[egress]) <= 0) /* sent again */
		return 0;
	slot->ends[egress] = end;
	slot->place |= known;
	/* TCP has just noted when a packet is to leave, by the same clock: half of this function's cost is reading it */
	now = egress ? skb->tstamp : 0;
	if (!now)
		now = bpf_ktime_get_ns();
	begins = slot->speaker != who;
	if (begins) {
		if (who == asker)
			slot->asked++;
		else if (slot->speaker == asker)
			answered(slot, passed_ns(slot->spoke_ns, now));
		slot->speaker = who;
	}
	asm volatile("" ::: "memory"); /* the pass over the sockets sees by this one that the others have changed */
	slot->spoke_ns = now;
	return begins;
}

/* Payload of TCP, and where the kernel side keeps what it knows of its connection. */
struct said {
	struct turn_slot *slot;    /* 0: it has none */
	struct first_words *first; /* what it is then, if it comes in */
	u32 payload_at;            /* 0: there is no payload */
	u32 begin;                 /* its sequence number */
	u16 begins_turn;
	u16 behind_gap;            /* not all that was sent before it has come */
};

/* Where the first payload that a socket receives is to begin; a socket whose SYN has no answer yet does not know. */
static __always_inline void begin_receiving(struct turn_slot *slot)
{
	u32 next = 0;

	READ(next, slot->socket, OFFSET_tcp_sock_rcv_nxt);
	if (!next)
		return;
	slot->ends[0] = next;
	slot->place |= TURN_ENDS_KNOWN(0);
}

/* A TCP packet that goes out or comes in. */
static __always_inline void take_turn(struct __sk_buff *skb, struct packet *packet, int egress, struct said *said)
{
	u8 *data = (u8 *)(long)skb->data, *data_end = (u8 *)(long)skb->data_end;
	u32 payload_at = packet->l4_offset, begin;
	struct first_words *first;
	struct turn_slot *slot;
	int only = 0;
	u8 *tcp;

	if (payload_at > 127) /* so many extension headers are left out */
		return;
	tcp = data + payload_at;
	if (tcp + 20 > data_end)
		return;
	payload_at += (tcp[12] >> 4) << 2;
	if (skb->len <= payload_at || !skb->sk)
		return;
	begin = __builtin_bswap32(*(u32 *)(tcp + 4)) + (tcp[13] >> 1 & 1); /* a SYN has a number of its own */
	slot = find_turn_slot((u64)packet_socket(skb));
	said->payload_at = payload_at;
	said->begin = begin;
	said->slot = slot;
	if (slot) {
		if (!egress && !(slot->place & TURN_ENDS_KNOWN(0)))
			begin_receiving(slot);
		if (!egress)
			said->behind_gap = (slot->ends[0] - begin) >> 31 & slot->place / TURN_ENDS_KNOWN(0);
		said->begins_turn = speaks(skb, slot, begin + skb->len - payload_at, egress);
		return;
	}
	if (egress)
		return;
	first = first_words.lookup(&only);
	if (!first)
		return;
	first->begin = begin;
	first->end = begin + skb->len - payload_at;
	first->time_ns = bpf_ktime_get_ns();
	first->requests = first->hello = 0;
	first->with_syn = tcp[13] >> 1 & 1;
	said->first = first;
}
