/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Heads of requests of HTTP/1, and where the bodies behind them end: what begins like a request within a body is none, also
 * where it has a segment of its own, or where the answer has come before the body. requests.c calls this for each segment that
 * begins like a request, unless it is one without a body in a flood, and for the segments of a chunked body.
 *
 * A body whose length is said is passed over by its sequence numbers, a chunked one is walked by the lengths of its chunks. Of a
 * body whose end is not known nothing is a request until the answer has come.
 */
#ifdef REQUESTS

#define CHUNKS_WALKED 64         /* of a segment */
#define CHUNK_LINE_BYTES 8       /* seven digits and a line's end: a longer one is not read */
#define SPACES_PASSED 3          /* and tabs, before a length */
#define LONGEST_BODY (1ull << 30) /* sequence numbers tell what lies before another by half of their 4 GB */
#define NO_LENGTH (~0ull)          /* none is said: of an answer, which then ends with the connection */
#define FIELD_BEFORE 6           /* characters of a field are looked at before what it is found by, a line's end among them */

#define LOWER EACH(0x20ull)
#define CONTEN 0x746e65746e6f632aull   /* a line's end and "content", all with the bit of small letters */
#define T_LENGTH 0x3a6874676e656c2dull /* "-length:" */
#define TRANSFER 0x726566736e617274ull
#define ENCODIN 0x6e69646f636e652dull  /* "-encodin" */
#define G_COLON 0x3a67               /* "g:" */

#define TAIL_BYTES 3 /* of a segment, of the end of a head, at most */

#define BODY_LENGTH 1   /* room->length is said, */
#define BODY_CHUNKED 2
#define BODY_UNKNOWN 4

/* The number behind "Content-Length:". What is none, or has more than ten digits, is as long as can be. */
static __always_inline u64 read_length(struct frame_walk *walk)
{
	u64 text = walk->header[2], rest = walk->header[3], digits, bad, length, more, space;
	u32 number;

#pragma clang loop unroll(full)
	for (number = 0; number < SPACES_PASSED; number++) {
		space = 8 & -(is_set((text & 0xff) ^ ' ') ^ 1 | (is_set((text & 0xff) ^ '\t') ^ 1));
		text = text >> space | (rest << (56 & -(space >> 3)) & -(space >> 3));
		rest >>= space;
	}
	text ^= (equal_bytes(text, '\n') >> 7) * ('\n' ^ '\r'); /* of lines without a carriage return */
	rest ^= (equal_bytes(rest, '\n') >> 7) * ('\n' ^ '\r');
	length = read_number(text, &digits, &bad);
	if (!bad)
		return length;
	more = text >> 56 | rest << 8;
	length = read_number((text & FIRST_SEVEN) | (u64)'\r' << 56, &digits, &bad);
	if (bad)
		return LONGEST_BODY;
	more = read_number(more, &digits, &bad);
	if (bad || digits > 3)
		return LONGEST_BODY;
	return length * (digits > 2 ? 1000 : digits > 1 ? 100 : 10) + more;
}

/* A field of the head, if it is one that tells of a body: `at` is where "nt-Length" or "er-Encoding" may begin. */
static __always_inline void read_field(struct __sk_buff *skb, struct head_room *room, u64 at)
{
	struct frame_walk *walk = &room->walk;
	u64 first, second, last = room->head.payload_bytes - at + FIELD_BEFORE - 1;

	if (at < FIELD_BEFORE || at > room->end - 1 || last >> 31) /* or it has no end here */
		return;
	if (last > sizeof(walk->header) - 1)
		last = sizeof(walk->header) - 1;
	FORGET(last, room->head.time_ns);
	walk->header[0] = walk->header[1] = walk->header[2] = walk->header[3] = 0;
	if (bpf_skb_load_bytes(skb, room->head.payload_offset + at - FIELD_BEFORE, walk->header,
			       (last & (sizeof(walk->header) - 1)) + 1))
		return;
	AS_STORED();
	first = walk->header[0] | LOWER;
	second = walk->header[1] | LOWER;
	if (first == CONTEN && second == T_LENGTH) {
		room->length = read_length(walk);
		room->body |= room->length ? BODY_LENGTH : 0;
	} else if (first == TRANSFER && second == ENCODIN && (u16)(walk->header[2] | 0x20) == G_COLON) {
		room->body |= BODY_CHUNKED; /* the body of a request is: RFC 9112 section 6.3 */
	}
}

/* What the head says of a body, to room->body and room->length. */
static __always_inline void read_fields(struct __sk_buff *skb, struct head_room *room)
{
	u32 number;

	if (room->goes_on != GOES_ON_HEAD) {
		room->body = 0;
		room->length = room->goes_on == GOES_ON_ANSWERS ? NO_LENGTH : 0;
	}
	if (room->goes_on == GOES_ON_HEAD && room->walk.ended) { /* where this segment begins: what follows is of the next one */
		room->expects = 0;
		return;
	}
	if (!room->fields)
		return;
	if (room->told > FIELDS_TOLD)
		room->body = BODY_UNKNOWN;
#pragma clang loop unroll(full)
	for (number = 0; number < FIELDS_TOLD; number++) {
		AS_STORED();
		if (number < room->told)
			read_field(skb, room, room->found[number]);
	}
	AS_STORED();
}

/* The length of a chunk, in hexadecimal digits before a "\r" (RFC 9112 section 7.1); see read_number() in databases.c. */
static __always_inline u64 read_chunk_length(u64 word, u64 *digits, u64 *bad)
{
	u64 returns = equal_bytes(word, '\r'), nibbles = EACH(0xfull), ones = EACH(1ull), sixes = EACH(6ull), nines = EACH(9ull);
	u64 letters, number, count, right;

	HIDE(nibbles);
	HIDE(ones);
	HIDE(sixes);
	HIDE(nines);
	count = ((returns & -returns) >> 7) * 0x0001020304050607ull >> 56;
	*bad = is_set(count) ^ 1;
	*digits = count;
	count = (64 - count * 8) & 63;
	word <<= count;
	letters = word >> 6 & ones;
	number = word & nibbles;
	/* "0" to "9" are 0x30 and on, letters 0x41 or 0x61 and on, to 6 */
	right = (letters & ~(word >> 4) & (number + nibbles) >> 4 & ~(number + nines) >> 4) |
		(~letters & word >> 5 & word >> 4 & ~(number + sixes) >> 4);
	*bad |= is_set(((right & ~(word >> 7)) ^ ones) & ones << count);
	number = (number + letters * 9) & nibbles;
	number = (number * 16 + (number >> 8)) & 0x00ff00ff00ff00ffull;
	number = (number * 256 + (number >> 16)) & 0x0000ffff0000ffffull;
	return (number * 65536 + (number >> 32)) & 0xffffffff;
}

/* Look at the chunk that begins at chunks->next. Returns whether there may be more. */
static __always_inline int walk_chunk(struct __sk_buff *skb, struct unfinished *chunks, struct frame_walk *walk)
{
	u64 last, digits, size;

	walk->at = chunks->next - walk->begin;
	AS_STORED();
	if (walk->at >= walk->bytes)
		return 0;
	last = walk->bytes - walk->at - 1;
	if (last > CHUNK_LINE_BYTES - 1)
		last = CHUNK_LINE_BYTES - 1;
	FORGET(last, walk->header[3]);
	walk->header[0] = 0;
	if (bpf_skb_load_bytes(skb, walk->payload_offset + walk->at, walk->header, (last & (CHUNK_LINE_BYTES - 1)) + 1))
		return 0;
	AS_STORED();
	size = read_chunk_length(walk->header[0], &digits, &walk->header[1]);
	walk->size = size;
	chunks->next += digits + 4 + size; /* and two line ends */
	walk->ended = walk->header[1] || !size;
	AS_STORED();
	return !walk->ended;
}

/* A segment while the body goes on: go_on() has found it. */
static __always_inline void walk_chunks(struct __sk_buff *skb, struct turn_slot *slot, struct head_room *room)
{
	struct frame_walk *walk = &room->walk;
	struct unfinished *chunks = unfinished_heads.lookup(&room->place);
	u32 number;

	if (!chunks)
		return;
	walk->more = walk->ended = 0;
#pragma clang loop unroll(disable)
	for (number = 0; number < CHUNKS_WALKED; number++) {
		HIDE(number);
		walk->more = walk_chunk(skb, chunks, walk);
		AS_STORED();
		if (!walk->more)
			break;
	}
	AS_STORED();
	walk->at = chunks->next - walk->begin;
	if (walk->more || walk->ended) /* behind the last one, or the way is lost */
		slot->unfinished &= ~(1 << room->head.egress);
}

/* The chunks behind a head that ends in this segment. */
static __always_inline void pass_over_chunks(u64 key, struct turn_slot *slot, struct head_room *room)
{
	struct unfinished *chunks = make_unfinished(key, slot, room);

	if (!chunks)
		return;
	chunks->next = room->walk.begin + room->end;
	chunks->kind = HTTP_CHUNKS;
	slot->unfinished |= 1 << room->head.egress;
	room->goes_on = GOES_ON_CHUNKS;
}

/*
 * Where the head that a segment begins with ends (room->end), and how many requests there are, if it begins with several of which
 * none has a body. What follows them is looked at the next time. Nothing is decided in the loop, or the verifier would follow each
 * way through it.
 */
static __always_inline void scan_requests(struct __sk_buff *skb, struct head_room *room)
{
	u32 bytes = room->head.payload_bytes, part;

	room->end = room->ends = room->last_end = room->fields = room->told = room->expects = 0;
#pragma clang loop unroll(full) /* Linux 5.10 wants loops that end with a jump: of two in one clang has made others */
	for (part = 0; part < SCANS; part++) {
		if (part == SCANS_OF_MANY)
			room->stops = 1;
		if (part * SCAN_STEP < bytes)
			scan_part(skb, room, part * SCAN_STEP, 1);
	}
	room->requests = 1;
	room->behind[0] = 0;
	if (room->ends > 1 && !room->fields && bytes >= room->end + HEAD_BYTES &&
	    !bpf_skb_load_bytes(skb, room->head.payload_offset + room->end, room->behind, HEAD_BYTES) &&
	    begins_request(room->behind))
		room->requests = room->ends;
}

/* The last bytes of a head that goes on, which may be part of its end: of this segment, and before it if that is short. */
static __always_inline void note_tail(struct __sk_buff *skb, struct head_room *room)
{
	struct frame_walk *walk = &room->walk;
	u32 bits = 8 * walk->bytes;

	if (walk->bytes >= TAIL_BYTES) {
		room->tail = 0;
		bpf_skb_load_bytes(skb, walk->payload_offset + walk->bytes - TAIL_BYTES, &room->tail, TAIL_BYTES);
	} else {
		room->tail = room->tail >> bits | ((u32)room->start[0] & ((1 << bits) - 1)) << (8 * TAIL_BYTES - bits);
	}
}

/* Where the heads of a segment end, how many there are, and what the first says of a body. */
static __always_inline void look_through(struct __sk_buff *skb, struct head_room *room)
{
	if (!room->goes_on || room->goes_on == GOES_ON_CHUNKS || room->goes_on == GOES_ON_LOST)
		return;
	scan_requests(skb, room);
	AS_STORED();
	read_fields(skb, room);
	AS_STORED();
	note_tail(skb, room);
}

/* Where lines end that an empty one follows, by top bits; `bare` has those where it has no carriage return. */
static __always_inline u64 head_ends(u64 word, u64 next, u64 *bare)
{
	u64 ends = equal_bytes(word, '\n'), next_ends = equal_bytes(next, '\n');

	*bare = ends & (ends >> 8 | next_ends << 56);
	return *bare | (ends & (ends >> 16 | next_ends << 48) & (equal_bytes(word, '\r') >> 8 | equal_bytes(next, '\r') << 56));
}

/* The end of a head that went on until this segment began, if that is not all in here. */
static __always_inline void end_across(struct head_room *room, struct unfinished *known)
{
	u64 *start = room->start, ends, bare;

	ends = head_ends((known->tail & 0xffffff) | start[0] << 24, start[0] >> 40 | start[1] << 24, &bare) & 0x808080;
	ends &= -ends;
	room->walk.ended = is_set(ends);
	room->walk.at = ((ends >> 7) * 0x0001020304050607ull >> 56) - is_set(ends & bare);
}

/* Go on so many bytes further. Returns whether there are as many as are needed. */
static __always_inline int step_to(struct __sk_buff *skb, struct head_room *room, u32 further, u32 needed)
{
	struct frame_walk *walk = &room->walk;
	struct http_head *head = &room->head;

	head->seq = walk->begin += further;
	head->payload_offset = walk->payload_offset += further;
	head->payload_bytes = walk->bytes -= further;
	head->prefix_bytes = 0;
	walk->at = 0;
	return walk->bytes >= needed && !bpf_skb_load_bytes(skb, walk->payload_offset, room->start, needed);
}

/* Find the request behind another one, or behind the end of a body, in the same segment. Returns whether one begins there. */
static __always_inline int begin_behind(struct __sk_buff *skb, u64 key, struct turn_slot *slot, struct head_room *room)
{
	u64 last;

	if (step_to(skb, room, room->walk.at, HEAD_BYTES))
		return begins_request(room->start);
	last = room->walk.bytes - 1;
	if (last < HEAD_BYTES - 1 && !read_short(skb, room->walk.payload_offset, last + 1, room->start) &&
	    IS_CAPITAL((u8)room->start[0]) && !has_line_end(room->start))
		keep_beginning(key, slot, room, 0);
	return 0;
}

/* A head, before it is looked through. Returns whether it counts. */
static __always_inline int begin_request(struct __sk_buff *skb, u64 key, struct turn_slot *slot, struct exchange *exchange,
					 struct head_room *room)
{
	struct http_head *head = &room->head;
	u8 way = 1 << head->egress, who = head->egress ? SPEAKER_LOCAL : SPEAKER_REMOTE, method, follows = room->walk.at != 0;
	u32 number = exchange->asked, waiting = number - answers_to(exchange, slot), further;
	int is_certain;

	if (exchange->asker && exchange->asker != who)
		return 0;
	further = exchange->heads[head->egress & 1] + 1 - head->seq;
	if (!follows && exchange->heads_known & way && further && !(further >> 31)) { /* sent again, perhaps with more */
		if (!(exchange->heads_known & HEADS_ENDED) || further >= head->payload_bytes)
			return 0;
		room->walk.at = further;
		follows = 1;
	}
	AS_STORED();
	if (follows && !begin_behind(skb, key, slot, room))
		return 0;
	AS_STORED();
	if (exchange->heads_known & way && (s32)(head->seq - exchange->heads[head->egress & 1]) <= 0)
		return 0;
	method = method_of(room->start[0]);
	is_certain = follows || (exchange->heads_known & HEADS_ENDED && head->seq == exchange->heads[head->egress & 1] + 1);
	if (waiting && exchange->method <= METHOD_BODY && !(is_certain && exchange->method == METHOD_BODY))
		return 0; /* it may be a body */
	exchange->asker = who;
	exchange->heads[head->egress & 1] = head->seq;
	exchange->heads_known = (exchange->heads_known | way) & ~HEADS_ENDED;
	if (!waiting && slot->place & TURN_ENDS_KNOWN(!head->egress)) { /* its answer is not among what came so far */
		exchange->heads[!head->egress & 1] = slot->ends[!head->egress & 1] - 1;
		exchange->heads_known |= 3;
	}
	exchange->without_bodies = (waiting && exchange->without_bodies) || (u32)room->start[0] == HEAD_WORD;
	exchange->method = method;
	exchange->certain |= method != METHOD_UNUSUAL;
	exchange->asked_ns[number & (TIMED - 1)] = head->time_ns;
	room->may_be_plain = room->begins_turn && !waiting && !follows && exchange->asker == (slot->born & ASKER);
	room->number = number;
	room->method = method;
	room->stops = method < METHOD_BARE;
	room->listed = waiting < ASKED_AT_ONCE / 2 && !(exchange->heads_known & HEADS_LOST) &&
		       may_list_head(DUE_REQUESTS, key, head->time_ns);
	return 1;
}

/* A request's head, or what was looked at of it, ends in this segment at the latest: what is behind it is looked at next. */
static __always_inline void go_behind(struct head_room *room, u32 at)
{
	if (at >= room->walk.bytes)
		return;
	room->walk.at = at;
	room->goes_on = GOES_ON_REQUEST;
}

/* Where the body of a request ends that has one, and the request with it. */
static __always_inline void end_body(u64 key, struct turn_slot *slot, struct exchange *exchange, struct head_room *room)
{
	u32 at = room->end + room->length;
	struct unfinished *fresh;

	if (room->body & BODY_UNKNOWN || room->length >= LONGEST_BODY)
		return;
	if (room->expects && at > room->head.payload_bytes) /* the client may not send it at all */
		return;
	if (room->body & BODY_CHUNKED) {
		pass_over_chunks(key, slot, room);
		return;
	}
	exchange->heads[room->head.egress & 1] = room->walk.begin + at - 1;
	exchange->heads_known |= HEADS_ENDED;
	go_behind(room, at);
	if (at <= room->walk.bytes)
		return;
	fresh = make_unfinished(key, slot, room);
	if (!fresh)
		return;
	fresh->next = room->walk.begin + at;
	fresh->kind = HTTP_BODY;
	slot->unfinished |= 1 << room->head.egress;
}

/* The head has not ended yet: it goes on in this segment, where it is looked at next, or in another one. */
static __always_inline void await_head(u64 key, struct turn_slot *slot, struct head_room *room, u32 most)
{
	struct frame_walk *walk = &room->walk;
	struct unfinished *fresh;

	if (walk->bytes > SCANS * SCAN_STEP) {
		walk->at = SCANS * SCAN_STEP - SCAN_OVERLAP;
		room->goes_on = GOES_ON_HEAD;
		return;
	}
	fresh = make_unfinished(key, slot, room);
	if (!fresh)
		return;
	fresh->next = walk->begin + walk->bytes;
	fresh->number = room->number;
	fresh->room = most;
	fresh->kind = HTTP_REST;
	fresh->tail = room->tail;
	fresh->length = room->length;
	fresh->body = room->body;
	fresh->expects = room->expects;
	fresh->method = room->method;
	fresh->listed = room->listed;
	slot->unfinished |= 1 << room->head.egress;
}

/* The same request once it is known where its head ends, and how many follow. */
static __always_inline void end_request(struct __sk_buff *skb, u64 key, struct turn_slot *slot, struct exchange *exchange,
					struct head_room *room)
{
	struct http_head *head = &room->head;
	u32 number = room->number, requests = room->requests, captured;
	u8 method = room->method;
	u64 bits;
	int listed = room->listed;

	room->goes_on = 0;
	if (method == METHOD_CONNECT)
		room->body = 0;
	if (method < METHOD_BARE || !room->end || room->body)
		requests = 1;
	if (method == METHOD_BARE && (!room->end || room->body))
		exchange->method = METHOD_BODY; /* behind this segment */
	if (requests > 1)
		exchange->asked_ns[(number + 1) & (TIMED - 1)] = head->time_ns;
	if (requests > 1 && (u32)room->behind[0] == HEAD_WORD)
		exchange->without_bodies = 1;
	bits = bits_of(number, requests);
	if (listed)
		exchange->listed |= bits;
	else
		exchange->listed &= ~bits;
	exchange->asked = number + requests; /* before the record, so that the answer finds it however fast it comes */
	if (exchange->heads_known & HEADS_LOST) {
		exchange->answered = exchange->asked;
		slot->answers = 0;
	}
	AS_STORED();
	if (!room->end) {
		captured = head->prefix_bytes + head->payload_bytes;
		await_head(key, slot, room, captured < CAPTURED_REQUEST_BYTES ? CAPTURED_REQUEST_BYTES - captured : 0);
	} else if (room->body) {
		end_body(key, slot, exchange, room);
	} else if (method != METHOD_UNUSUAL && method != METHOD_CONNECT) {
		if (requests > 1)
			room->end = room->last_end;
		exchange->heads[head->egress & 1] = room->walk.begin + room->end - 1;
		exchange->heads_known |= HEADS_ENDED;
		go_behind(room, room->end);
	}
	if (!listed) {
		count_unlisted(requests);
		if (room->may_be_plain && method == METHOD_BARE && room->end && !room->body && requests == 1 && !room->goes_on &&
		    !(exchange->heads_known & HEADS_LOST)) {
			exchange->plain = 1;
			slot->unfinished |= TURN_PLAIN;
		}
		return;
	}
	head->kind = HTTP_REQUEST;
	head->number = number;
	head->requests = requests < 255 ? requests : 255;
	room->most = CAPTURED_REQUEST_BYTES;
}

/* A segment, or a part of one, in which a head goes on. */
static __always_inline void begin_rest(struct __sk_buff *skb, struct turn_slot *slot, struct head_room *room)
{
	struct http_head *head = &room->head;
	struct unfinished *known;

	room->stops = 1;
	room->walk.ended = 0;
	if (room->walk.at) {
		room->captures = 0; /* that is beyond what is captured */
		room->expects_before = room->expects;
		step_to(skb, room, room->walk.at, HEAD_BYTES);
		return;
	}
	slot->unfinished &= ~(1 << head->egress);
	known = unfinished_heads.lookup(&room->place);
	if (!known) {
		room->goes_on = 0;
		return;
	}
	room->number = known->number;
	room->captures = known->room;
	room->tail = known->tail;
	room->length = known->length;
	room->body = known->body;
	room->expects_before = known->expects;
	room->method = known->method;
	room->listed = known->listed;
	end_across(room, known);
}

static __always_inline void end_rest(struct __sk_buff *skb, u64 key, struct turn_slot *slot, struct exchange *exchange,
				     struct head_room *room)
{
	struct http_head *head = &room->head;
	u32 most = room->captures;

	room->goes_on = 0;
	room->expects |= room->expects_before;
	if (room->walk.ended)
		room->end = room->walk.at;
	room->walk.at = 0;
	AS_STORED();
	if (room->listed && most) {
		head->kind = HTTP_REST;
		head->number = room->number;
		room->most = most & CAPTURED_MASK;
	}
	if (!room->end) {
		await_head(key, slot, room, most > head->payload_bytes ? most - head->payload_bytes : 0);
		return;
	}
	if (exchange->asked != room->number + 1) /* another one was taken for a request meanwhile */
		return;
	if (room->body && room->method != METHOD_CONNECT) {
		end_body(key, slot, exchange, room);
	} else if (room->method != METHOD_UNUSUAL && room->method != METHOD_CONNECT) {
		if (room->method == METHOD_BARE)
			exchange->method = METHOD_BARE;
		exchange->heads[head->egress & 1] = room->walk.begin + room->end - 1;
		exchange->heads_known |= HEADS_ENDED;
		go_behind(room, room->end);
	}
}

/* A request that came with a SYN: its connection will look for it; see claim_fast_open(). */
static __always_inline void keep_early(struct first_words *first, struct http_head *head)
{
	struct early_request early = { .time_ns = first->time_ns, .begin = first->begin, .listed = first->listed,
				       .method = first->method, .requests = first->requests };
	struct early_key key = { .netns = head->netns, .remote_port = head->remote_port, .local_port = head->local_port };

	key.remote = ((u32 *)head->remote_address)[head->family == AF_INET ? 0 : 3];
	early_requests.update(&key, &early);
}

/* The first request that comes to a listener, which take_first_request() leaves to the program below, when it is looked through. */
static __always_inline void take_first_head(struct __sk_buff *skb, u64 listener, struct head_room *room)
{
	struct http_head *head = &room->head;
	struct first_words *first;
	u32 requests = room->requests;
	int only = 0;

	first = first_words.lookup(&only);
	if (!first)
		return;
	head->kind = HTTP_REQUEST;
	first->method = method_of(room->start[0]);
	if (first->method == METHOD_BARE && (room->fields || !room->end)) /* a body may follow */
		first->method = METHOD_BODY;
	if (first->method < METHOD_BARE)
		requests = 1;
	first->requests = head->requests = requests < 255 ? requests : 255;
	first->listed = may_list_head(DUE_REQUESTS, listener, first->time_ns);
	if (first->with_syn)
		keep_early(first, head);
	if (first->listed)
		submit_head(skb, head, CAPTURED_REQUEST_BYTES);
	else
		count_unlisted(first->requests);
}

/* Pass over the empty line that a segment begins with. Returns whether a request follows. */
static __always_inline int pass_empty_line(struct __sk_buff *skb, struct head_room *room)
{
	return step_to(skb, room, 2, HEAD_BYTES) && begins_request(room->start);
}

#endif
