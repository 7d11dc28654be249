/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Requests of HTTP/2 without TLS (RFC 9113). A connection is marked by the client's preface, by an answer 101 that agrees to
 * h2c, or, where it is older than nettop, by a head that nothing else looks like. From then on requests.c calls this for each
 * segment, and the headers of its frames are walked.
 *
 * Requests are counted by their HEADERS frames. What is handed on are the frames that heads are made of and those that
 * reset a stream, one after the other and without what lies between them: the table of a direction is made by all of its
 * heads (HPACK, RFC 7541), so each byte of them has a number, and nettop sees where one is missing. In a flood so many heads a
 * second are handed on; those of a connection are then counted only until it is its turn again.
 *
 * A frame's place is known by its sequence number alone, so what is sent again is passed over. If that place is missed,
 * because segments come out of order, the walk goes on at a segment that begins with a head of a stream that may be next.
 */
#ifdef REQUESTS

#define FRAMES_AT_ONCE 18 /* in a run of the program; h2load has 200 in a segment */
#define MOST_RUNS 30      /* of one segment: the kernel allows 33 */
#define WALK_ENDED 255
#define FRAME_HEADER_BYTES 9
#define LONGEST_FRAME (1 << 20) /* ends agree on 16 KB, some on 1 MB */
#define LONGEST_HEAD 16384
#define PREFACE_BYTES 24
#define ANSWERS_PER_STREAM 4 /* heads that a server may send for each that was handed on, in the long run: two or three */
#define STREAMS_AHEAD 2048 /* numbers of streams are taken for later ones than the last up to here */

#define FRAME_HEADERS 1
#define FRAME_RESET 3
#define FRAME_SETTINGS 4
#define FRAME_PING 6
#define FRAME_WINDOW 8
#define END_STREAM 1
#define END_HEADERS 4
#define WITH_PRIORITY 32
/* Kinds of frames, a bit each; unknown ones are to be ignored, but nobody sends others (RFC 7838, 8336, 9218). */
#define FRAMES_KNOWN 0x11fff
#define FRAMES_OF_STREAMS 0x22f
#define FRAMES_OF_CONNECTION 0xd0
#define FRAMES_HANDED_ON 0x22a    /* HEADERS, RST_STREAM, PUSH_PROMISE, CONTINUATION */
#define FRAME_SIZES 0x408004500ull /* four bits each: PRIORITY, RST_STREAM, PING, WINDOW_UPDATE; 0: any */

/* Whether it is known where the next frame of a direction begins. */
#define WAY_MISSED 0
#define WAY_BEGINS 1 /* with the next segment, and with SETTINGS */
#define WAY_FIRST 2  /* it is SETTINGS */
#define WAY_KNOWN 3

/* One direction. Written by the CPU that handles its packets only. */
struct frame_way {
	u64 header;  /* what has come of it */
	u32 next;    /* sequence number of the byte that is looked at next */
	u32 left;    /* so many bytes from there on belong to a frame that is handed on */
	u32 handed;  /* number of the next byte of such frames */
	u8 state;    /* WAY_* */
	u8 held;     /* bytes of `header` */
	u8 left_out; /* the last bytes were not handed on */
	u8 pad;
};
struct http2 {
	struct frame_way ways[2]; /* received, and sent */
	u32 born;                 /* as in turn_slot */
	u32 last_stream;          /* that the client has begun */
	u32 listed_from;          /* of the streams that are handed on; */
	u32 listed_to;            /* 0: none is */
};
_Static_assert(sizeof(struct http2) == 64, "http2");
BPF_TABLE("lru_hash", u64, struct http2, http2_connections, 16384);
BPF_ARRAY(no_http2, struct http2, 1);

static __always_inline void forget_frames(u64 socket)
{
	http2_connections.delete(&socket);
}

/* Whether a segment begins with a head, of a stream that is likely, and so that the head can be read. */
static __always_inline int begins_with_head(u64 *words, u32 bytes, int asks, u32 last_stream)
{
	u64 first = words[0];
	u32 size = (first & 0xff) << 16 | (first & 0xff00) | (first >> 16 & 0xff);
	u32 stream = __builtin_bswap32((u32)(first >> 40) | (u32)words[1] << 24), apart;
	u8 flags = first >> 32, field = flags & WITH_PRIORITY ? words[1] >> 48 : words[1] >> 8;

	if ((u8)(first >> 24) != FRAME_HEADERS || !(flags & END_HEADERS) || flags & ~(END_STREAM | END_HEADERS | WITH_PRIORITY) ||
	    size > LONGEST_HEAD || size < (asks ? 4 : 1) || size + FRAME_HEADER_BYTES > bytes || !(stream & 1) || stream >> 31)
		return 0;
	apart = asks ? stream - last_stream - 1 : last_stream - stream;
	if (apart >= STREAMS_AHEAD && (last_stream || !asks))
		return 0;
	if (field >= 0xbe || (field & 0xe0) == 0x20) /* something that was said before, or the size of the table */
		return 1;
	return asks ? (field >= 0x82 && field <= 0x87) || (field >= 0x41 && field <= 0x44)
		    : (field >= 0x88 && field <= 0x8e) || field == 0x48 || field == 0x08 || field == 0x18;
}

/* The same behind what else a segment may begin with. It leaves the beginning of the head in `words`. */
static __always_inline int begins_before_head(struct __sk_buff *skb, u32 at, u32 bytes, u64 *words, int asks, u32 last_stream)
{
	u32 step, size;
	u8 kind;

#pragma clang loop unroll(full)
	for (step = 0; step < 3; step++) {
		if (bytes < HEAD_BYTES || bytes >> 31 || bpf_skb_load_bytes(skb, at, words, HEAD_BYTES))
			return 0;
		size = (u8)(words[0] >> 16);
		kind = words[0] >> 24;
		if (kind == FRAME_HEADERS)
			return begins_with_head(words, bytes, asks, last_stream);
		if ((words[0] & 0xffff) || (kind != FRAME_WINDOW && kind != FRAME_PING && kind != FRAME_SETTINGS) || size > 8)
			return 0;
		at += FRAME_HEADER_BYTES + size;
		bytes -= FRAME_HEADER_BYTES + size;
	}
	return 0;
}

static __always_inline struct http2 *make_http2(struct turn_slot *slot, struct exchange *exchange, u64 key, u8 flags)
{
	struct http2 *fresh, *http2;
	int only = 0;

	fresh = no_http2.lookup(&only);
	if (!fresh || http2_connections.update(&key, fresh))
		return 0;
	http2 = http2_connections.lookup(&key);
	if (!http2)
		return 0;
	http2->born = slot->born;
	exchange->http2 = HTTP2_SPOKEN | flags;
	exchange->http2_unlisted = 0;
	slot->unfinished = TURN_HTTP2;
	return http2;
}

/* The client's preface, which nothing else begins with. */
static __always_inline void begin_http2(u64 key, struct turn_slot *slot, struct exchange *exchange, struct head_room *room)
{
	struct http_head *head = &room->head;
	u8 who = head->egress ? SPEAKER_LOCAL : SPEAKER_REMOTE;
	struct frame_way *way, *back;
	struct http2 *http2;

	if (!exchange->asker)
		exchange->asker = who;
	if (exchange->asker != who)
		return;
	http2 = make_http2(slot, exchange, key, 0);
	if (!http2)
		return;
	exchange->certain = 1;
	way = &http2->ways[head->egress & 1];
	back = &http2->ways[!head->egress];
	way->next = head->seq + PREFACE_BYTES;
	way->state = WAY_FIRST;
	back->state = WAY_BEGINS;
	if (slot->place & TURN_ENDS_KNOWN(!head->egress)) { /* a server that did not wait for the preface */
		back->next = slot->ends[!head->egress];
		back->state = WAY_KNOWN;
	}
}

/* A connection that is older than nettop, and on which the client sends what looks like a head. */
static __always_inline void join_http2(u64 key, struct turn_slot *slot, struct head_room *room)
{
	struct exchange *exchange = exchange_at(slot, key);
	struct http_head *head = &room->head;
	struct http2 *http2;

	if (!exchange || exchange->certain)
		return;
	http2 = make_http2(slot, exchange, key, HTTP2_JOINED | HTTP2_PARTIAL);
	if (!http2)
		return;
	exchange->asker = slot->born & ASKER;
	http2->ways[head->egress & 1].next = head->seq;
	http2->ways[!head->egress].next = slot->ends[!head->egress];
}

/* Whether an answer 101 agrees to h2c; room->end is where its head ends then. The answer to the request comes as frames. */
static __always_inline int agrees_to_h2c(struct __sk_buff *skb, struct head_room *room)
{
	u64 word, spaces = 0, hs = 0, twos = 0, cs = 0, space, h, two, c, found = 0, used, left;
	u32 number;

	room->end = room->ends = 0;
	scan_part(skb, room, 0, 0);
	AS_STORED();
	used = room->head.payload_bytes >> 3;
	room->words[SCANNED_WORDS] = 0;
#pragma clang loop unroll(disable)
	for (number = 0; number < SCANNED_WORDS - 1; number++) {
		HIDE(number);
		left = used - number;
		HIDE(left);
		word = room->words[number & (SCANNED_WORDS - 1)] & ((left >> 63) - 1); /* without a way out of each round */
		space = equal_bytes(word, ' ');
		h = equal_bytes(word, 'h') & (space << 8 | spaces);
		two = equal_bytes(word, '2') & (h << 8 | hs);
		c = equal_bytes(word, 'c') & (two << 8 | twos);
		found |= equal_bytes(word, '\r') & (c << 8 | cs);
		spaces = space >> 56;
		hs = h >> 56;
		twos = two >> 56;
		cs = c >> 56;
	}
	return found && room->end;
}

/* After an answer 101: the last request of HTTP/1 may be stream 1, and what follows the head frames. */
static __always_inline void upgrade_to_http2(struct __sk_buff *skb, u64 key, struct turn_slot *slot, struct head_room *room)
{
	struct exchange *exchange = exchange_at(slot, key);
	struct http_head *head = &room->head;
	struct frame_way *way;
	struct http2 *http2;

	if (!exchange || !agrees_to_h2c(skb, room))
		return;
	http2 = make_http2(slot, exchange, key, 0);
	if (!http2)
		return;
	exchange->answered = exchange->asked - 1;
	http2->last_stream = 1;
	if (room->most) /* it was to be handed on, as its request was */
		http2->listed_from = http2->listed_to = 1;
	else
		exchange->http2_unlisted = 1;
	way = &http2->ways[head->egress & 1];
	way->next = room->walk.begin + room->end;
	way->state = WAY_FIRST;
	way = &http2->ways[!head->egress];
	way->next = slot->ends[!head->egress] + PREFACE_BYTES;
	way->state = WAY_FIRST;
	room->most = 0;
}

/* Whether a segment lies within a frame that nobody wants, or was seen before. */
static __always_inline int is_passed_over(u64 key, u32 end, int egress)
{
	struct http2 *http2 = http2_connections.lookup(&key);
	struct frame_way *way;

	if (!http2)
		return 0;
	way = &http2->ways[egress];
	return way->state >= WAY_FIRST && (s32)(way->next - end) >= 0;
}

/* From walk->at on. `skb` is a constant 0 where it lies in the memory of the process that runs. */
static __always_inline int read_walked(struct __sk_buff *skb, struct frame_walk *walk, void *to, u32 bytes)
{
	if (skb)
		return bpf_skb_load_bytes(skb, walk->payload_offset + walk->at, to, bytes);
	return read_user(to, bytes, (void *)(walk->buffer + walk->at));
}

/* Append to what is handed on. */
static __always_inline void keep_header(struct head_room *room)
{
	struct frame_walk *walk = &room->walk;
	u8 *header = (u8 *)walk->header, *to;
	u64 used = walk->used;
	u32 byte;

	walk->total += FRAME_HEADER_BYTES;
	walk->copies &= (used - (FRAMES_BYTES - FRAME_HEADER_BYTES + 1)) >> 63;
	AS_STORED();
	if (!walk->copies)
		return;
	used = walk->used;
	HIDE(used);
	to = room->frames + (used & (FRAMES_BYTES - 1));
#pragma clang loop unroll(full)
	for (byte = 0; byte < FRAME_HEADER_BYTES; byte++)
		to[byte] = header[byte];
	walk->used += FRAME_HEADER_BYTES;
}

/* walk->part bytes from `at` on, if there are any. */
static __always_inline void keep_part(struct __sk_buff *skb, struct head_room *room)
{
	struct frame_walk *walk = &room->walk;
	u64 used = walk->used, last = walk->part;

	walk->total += last;
	walk->copies &= (used + last - (FRAMES_BYTES + 1)) >> 63;
	AS_STORED();
	if (!walk->copies || !walk->part)
		return;
	used = walk->used;
	last = walk->part - 1;
	HIDE(used);
	HIDE(last);
	if (read_walked(skb, walk, room->frames + (used & (FRAMES_BYTES - 1)), (last & (FRAMES_BYTES - 1)) + 1))
		walk->copies = 0;
	walk->used += walk->part;
}

/* Judge and count the frame whose header is complete. Without a branch for each question: see requests.c. */
static __always_inline void count_frame(struct http2 *http2, struct frame_way *way, struct head_room *room)
{
	struct frame_walk *walk = &room->walk;
	u64 first = walk->header[0], fixed, kinds, is_new, is_head, is_reset, bad;
	u64 size = (first & 0xff) << 16 | (first & 0xff00) | (first >> 16 & 0xff), last = http2->last_stream, other;
	u64 stream = __builtin_bswap32((u32)(first >> 40) | (u32)walk->header[1] << 24) & 0x7fffffff;
	u8 kind = first >> 24, flags = first >> 32;

	kinds = (is_set(kind >> 5) ^ 1) << (kind & 31);
	fixed = FRAME_SIZES >> ((kind & 15) * 4) & 15;
	bad = is_set(kinds & FRAMES_KNOWN) ^ 1;
	bad |= is_set(size >> 20);
	bad |= is_set(fixed) & is_set(fixed ^ size);
	bad |= is_set(stream) & is_set(kinds & FRAMES_OF_CONNECTION);
	bad |= (is_set(stream) ^ 1) & is_set(kinds & FRAMES_OF_STREAMS);
	other = kind ^ FRAME_SETTINGS;
	bad |= (is_set(way->state ^ WAY_FIRST) ^ 1) & is_set(other | (flags & 1));
	walk->bad = bad;
	is_head = is_set(kind ^ FRAME_HEADERS) ^ 1;
	is_reset = is_set(kind ^ FRAME_RESET) ^ 1;
	walk->heads += is_head | is_reset;
	if (walk->asks) {
		is_new = is_head & stream & ((last - stream) >> 63);
		http2->last_stream = last ^ ((last ^ stream) & -is_new);
		walk->first_stream |= stream & -(is_new & (is_set(walk->first_stream) ^ 1));
		walk->requests += is_new;
	} else {
		walk->ended += flags & END_STREAM & (is_set(kinds & 3));
		other = (u32)(http2->listed_to - stream) <= http2->listed_to - http2->listed_from;
		walk->wanted += (is_head | is_reset) & other;
	}
	walk->size = size;
	walk->hands_on = is_set(kinds & FRAMES_HANDED_ON);
}

/* The least of both, in memory, or the verifier would follow each case apart; see scan_part(). */
static __always_inline void take_part(struct frame_walk *walk, u32 wanted)
{
	u64 rest = walk->bytes - walk->at, less = rest - wanted;

	HIDE(less);
	less = (s64)less >> 63;
	HIDE(less);
	walk->part = wanted ^ ((wanted ^ rest) & less);
	AS_STORED();
}

/* Look at what is at way->next. Returns whether there may be more. */
static __always_inline int walk_frame(struct __sk_buff *skb, struct http2 *http2, struct frame_way *way, struct head_room *room)
{
	struct frame_walk *walk = &room->walk;
	u64 held, last;

	walk->at = way->next - walk->begin;
	AS_STORED();
	if (walk->at >= walk->bytes)
		return 0;
	if (!way->left) {
		take_part(walk, FRAME_HEADER_BYTES - way->held);
		held = way->held;
		last = walk->part - 1;
		HIDE(held);
		HIDE(last);
		if (read_walked(skb, walk, (u8 *)walk->header + (held & 15), (last & 15) + 1))
			return 0;
		way->next += walk->part;
		way->held += walk->part;
		AS_STORED();
		if (way->held < FRAME_HEADER_BYTES) {
			way->header = walk->header[0];
			return 0;
		}
		way->held = 0;
		count_frame(http2, way, room);
		AS_STORED();
		if (walk->bad)
			return 0;
		way->state = WAY_KNOWN;
		if (!walk->hands_on) {
			way->next += walk->size;
			return 1;
		}
		way->left = walk->size;
		keep_header(room);
		walk->at = way->next - walk->begin;
		AS_STORED();
	}
	take_part(walk, way->left);
	way->left -= walk->part;
	way->next += walk->part;
	keep_part(skb, room);
	return 1;
}

/* Frames were missed, or are none. */
static __always_inline void miss_frames(struct frame_way *way, struct exchange *exchange, int asks)
{
	way->state = WAY_MISSED;
	way->left = way->held = 0;
	way->handed++; /* so that nettop sees it */
	exchange->http2 |= asks ? HTTP2_PARTIAL : HTTP2_LEFT_OUT;
}

/* Take out as many as were in the segment. */
static __always_inline void pay_for_heads(struct frame_walk *walk, u64 now_ns)
{
	int kind = DUE_STREAMS + (walk->asks ^ 1);
	u64 *next = due_ns.lookup(&kind), cost = control(REQUEST_INTERVAL_NS);

	cost = walk->asks ? walk->heads * cost : walk->wanted * cost / ANSWERS_PER_STREAM;
	if (next)
		*next = ((s64)(*next - now_ns) > 0 ? *next : now_ns) + cost;
}

/* After the frames of a segment have been walked: whether they are handed on. */
static __always_inline int is_handed_on(struct http2 *http2, struct frame_way *way, struct exchange *exchange,
					struct head_room *room)
{
	struct frame_walk *walk = &room->walk;
	int whole = walk->copies && walk->used == walk->total;

	if (walk->asks) {
		exchange->asked += walk->requests; /* before the record, so that the answer finds it however fast it comes */
		if (whole && walk->requests) {
			if (way->left_out || !http2->listed_to)
				http2->listed_from = walk->first_stream;
			http2->listed_to = http2->last_stream;
		}
		if (!whole && walk->requests) {
			exchange->http2_unlisted += walk->requests;
			count_unlisted(walk->requests);
		}
	} else {
		exchange->answered += walk->ended;
		whole = whole && walk->wanted;
	}
	if (!walk->total)
		return 0;
	way->left_out = !whole;
	if (!whole)
		exchange->http2 |= HTTP2_LEFT_OUT;
	return whole;
}

static __always_inline int is_answer_to_listed(struct http2 *http2, u64 *words)
{
	u32 stream = __builtin_bswap32((u32)(words[0] >> 40) | (u32)words[1] << 24);

	return http2->listed_to && stream - http2->listed_from <= http2->listed_to - http2->listed_from;
}

/* Begin to walk a segment. Returns whether it is known where its first frame begins. */
static __always_inline int find_frames(struct __sk_buff *skb, struct http2 *http2, struct frame_way *way,
				       struct exchange *exchange, struct head_room *room)
{
	struct frame_walk *walk = &room->walk;
	u32 begin = walk->begin, end = begin + walk->bytes;

	walk->rejoins = 0;
	if (way->state == WAY_BEGINS) {
		way->next = begin;
		way->state = WAY_FIRST;
	}
	if (way->state != WAY_MISSED) {
		if ((s32)(way->next - end) >= 0)
			return 0;
		if ((s32)(begin - way->next) <= 0)
			return 1;
		miss_frames(way, exchange, walk->asks);
	}
	if ((s32)(begin - way->next) < 0 ||
	    !begins_before_head(skb, walk->payload_offset, walk->bytes, room->start, walk->asks, http2->last_stream))
		return 0;
	/* a body may look like heads, but not that of the client like those that the server then answers */
	if (exchange->http2 & HTTP2_JOINED && !walk->asks && !is_answer_to_listed(http2, room->start))
		return 0;
	walk->rejoins = 1;
	walk->stream_before = http2->last_stream;
	walk->next_before = way->next;
	way->next = begin;
	return 1;
}

/* What was walked are no frames. */
static __always_inline void reject_frames(u64 key, struct turn_slot *slot, struct http2 *http2, struct frame_way *way,
					  struct exchange *exchange, struct head_room *room)
{
	struct frame_walk *walk = &room->walk;

	if (exchange->http2 & HTTP2_JOINED && walk->asks) {
		exchange->http2 = 0;
		exchange->asked = exchange->http2_unlisted = 0;
		slot->unfinished = 0;
		http2_connections.delete(&key);
		return;
	}
	if (walk->rejoins) {
		http2->last_stream = walk->stream_before;
		way->next = walk->next_before;
	} else {
		exchange->asked += walk->requests;
		exchange->http2_unlisted += walk->requests;
		count_unlisted(walk->requests);
		exchange->answered += walk->ended;
	}
	miss_frames(way, exchange, walk->asks);
	way->handed += walk->total;
}

/* Before the frames of a segment are walked, of which walk->asks is known. */
static __always_inline void begin_count(struct http2 *http2, struct frame_way *way, struct head_room *room)
{
	struct frame_walk *walk = &room->walk;

	walk->used = walk->total = walk->requests = walk->heads = walk->ended = walk->first_stream = 0;
	walk->bad = 0;
	walk->header[0] = way->header;
	walk->continued = way->left;
	walk->wanted = way->left && !way->left_out;
	walk->copies = walk->in_scope & is_due(DUE_STREAMS + (walk->asks ^ 1), room->head.time_ns);
	AS_STORED();
	walk->copies &= walk->asks | is_set(http2->listed_to);
}

/* The same, if it is known where they begin. Returns whether it is. */
static __always_inline int begin_walk(struct __sk_buff *skb, struct http2 *http2, struct frame_way *way,
				      struct exchange *exchange, struct head_room *room)
{
	room->walk.asks = exchange->asker == (room->head.egress ? SPEAKER_LOCAL : SPEAKER_REMOTE);
	if (!find_frames(skb, http2, way, exchange, room))
		return 0;
	begin_count(http2, way, room);
	return 1;
}

/* Walk as many frames as one run of a program can; walk->runs is WALK_ENDED after the last ones. */
static __always_inline void walk_frames(struct __sk_buff *skb, struct http2 *http2, struct frame_way *way, struct head_room *room)
{
	struct frame_walk *walk = &room->walk;
	int number;

	walk->runs++;
#pragma clang loop unroll(disable)
	for (number = 0; number < FRAMES_AT_ONCE; number++) {
		HIDE(number);
		walk->more = walk_frame(skb, http2, way, room);
		AS_STORED();
		if (!walk->more)
			break;
	}
	AS_STORED();
	if (!walk->more || walk->runs == MOST_RUNS)
		walk->runs = WALK_ENDED;
}

/* After they have been. */
static __always_inline void end_walk(u64 key, struct turn_slot *slot, struct http2 *http2, struct frame_way *way,
				    struct exchange *exchange, struct head_room *room)
{
	struct frame_walk *walk = &room->walk;
	struct http_head *head = &room->head;

	if (walk->bad || (s32)(walk->begin + walk->bytes - way->next) > 0) { /* or more than are walked */
		reject_frames(key, slot, http2, way, exchange, room);
		return;
	}
	way->state = WAY_KNOWN;
	if (!walk->asks) {
		exchange->certain = 1;
		exchange->http2 &= ~HTTP2_JOINED;
	}
	head->seq = way->handed;
	way->handed += walk->total;
	if (!is_handed_on(http2, way, exchange, room))
		return;
	pay_for_heads(walk, head->time_ns);
	head->kind = HTTP2_FRAMES;
	head->number = walk->continued < walk->used ? walk->continued : walk->used;
	head->http2 = exchange->http2 | (walk->asks ? HTTP2_ASKS : 0);
	head->prefix_bytes = 0;
	head->payload_offset = 0;
	head->payload_bytes = walk->used;
	room->most = walk->used;
}

/*
 * A segment of a connection with HTTP/2. The program runs again for what is too much for one time, and once more for the end,
 * which the verifier would follow behind each frame.
 */
static __always_inline void take_frames(struct __sk_buff *skb, u64 key, struct turn_slot *slot, struct head_room *room)
{
	struct http2 *http2 = http2_connections.lookup(&key);
	struct exchange *exchange = exchange_at(slot, key);
	struct frame_walk *walk = &room->walk;
	struct frame_way *way;

	if (!exchange)
		return;
	if (!http2 || http2->born != slot->born) { /* the table was full of later ones */
		exchange->http2 |= HTTP2_PARTIAL;
		slot->unfinished = TURN_TUNNEL;
		return;
	}
	way = room->head.egress ? &http2->ways[1] : &http2->ways[0];
	if (walk->runs == WALK_ENDED) {
		end_walk(key, slot, http2, way, exchange, room);
		return;
	}
	if (!walk->runs && !begin_walk(skb, http2, way, exchange, room))
		return;
	walk_frames(skb, http2, way, room);
	continuations.call(skb, FRAMES);
}

/* What take_head_of() leaves to this program: an answer that may agree to h2c, and frames. */
static __always_inline void continue_head(struct __sk_buff *skb)
{
	struct head_room *room = taken_room();
	struct turn_slot *slot;
	u64 key = (u64)packet_socket(skb);

	if (!room)
		return;
	slot = slot_of(room);
	if (slot) {
		if (room->upgrades)
			upgrade_to_http2(skb, key, slot, room);
		room->upgrades = 0;
		AS_STORED();
		if (slot->unfinished & TURN_HTTP2)
			take_frames(skb, key, slot, room);
	}
	end_head(skb, key, room);
}

int frames(struct __sk_buff *skb)
{
	continue_head(skb);
	return 1;
}

#endif
