/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Requests of PostgreSQL, MySQL, Redis and Memcached. A connection is marked by what certainly begins one, or, where it is
 * older than nettop, by a whole request that follows an answer, to a port of such servers. From then on requests.c calls this
 * for each segment of it, in a program of its own.
 *
 * What the asking end sends is walked by the lengths that its messages carry, so that each request is counted, and values are
 * passed over that look like one. Where the next message begins is known by its sequence number, so what is sent again is
 * passed over too. If that place is missed, the walk goes on with the next turn, which begins with a message.
 *
 * How many answers a segment holds is not told here: what comes next from the other end answers all that was asked. What
 * was handed on is *followed*: so is what answers it, and nettop pairs both. A client that asks again before the answer has
 * come is followed only as long as nothing of it is left out, because nobody knows afterwards which answer is whose.
 */
#ifdef REQUESTS

#define MESSAGES_WALKED 96       /* of a segment: 24 commands of Redis with three words each */
#define CAPTURED_COMMAND_BYTES 512 /* frameworks put comments before a statement */
#define CAPTURED_REPLY_BYTES 256
#define STEPS_OF_LINES 128       /* of eight bytes, through lines of Memcached that share a segment: as much as is handed on */
#define PASSED_BYTES 512         /* of a message that began before, at most, in front of what is handed on */
#define DATABASE_MANY 128        /* more than one request may wait for what comes next */
#define ALIGNED_AGAIN 0xffffffff /* exchange->values: with the next turn */
#define LONGEST_STARTUP 10000    /* what PostgreSQL takes */
#define CRLF_DOLLAR 0x240a0d     /* "\r\n$" */
#define SYNC 0x0400000053ull     /* of PostgreSQL: the message that ends a batch */

#define MYSQL_QUERY 0x03
#define MYSQL_PING 0x0e
#define MYSQL_PREPARE 0x16
#define MYSQL_EXECUTE 0x17
#define MYSQL_SILENT ((1u << 0x01) | (1u << 0x18) | (1u << 0x19)) /* quit, a part of a long value, close: nothing comes back */
#define MYSQL_COMPRESSED ((1u << 5) | (1u << 26)) /* capabilities: with zlib, with zstd */
#define MYSQL_SSL (1u << 11)

#define KIND(letter) (1ull << ((letter) - 64))
#define POSTGRESQL_ASKED                                                                                             \
	(KIND('Q') | KIND('P') | KIND('B') | KIND('E') | KIND('D') | KIND('C') | KIND('S') | KIND('H') | KIND('F') | \
	 KIND('X') | KIND('c') | KIND('f') | KIND('p'))
#define POSTGRESQL_ALONE (KIND('Q') | KIND('F'))
#define POSTGRESQL_BATCHED (KIND('P') | KIND('B') | KIND('E') | KIND('D') | KIND('C') | KIND('S'))
/* What may come before the error of a batch: parsed, bound, described, complete. Digits are 16 less in these bits. */
#define POSTGRESQL_BEFORE_ERRORS (KIND('T') | KIND('n') | KIND('t') | KIND('C') | KIND('S') | KIND('N'))

/* The port of whoever did not connect. */
static __always_inline u16 served_port(struct __sk_buff *skb, struct turn_slot *slot)
{
	void *sk = skb->sk;
	u32 port = 0;

	if (!sk)
		return 0;
	if ((slot->born & ASKER) == SPEAKER_REMOTE) {
		LOAD(port, sk, SOCK_SRC_PORT);
		return port;
	}
	LOAD(port, sk, SOCK_DST_PORT);
	return HOST_ORDER(port);
}

/* "*", up to three digits, and the length of the first word. */
static __always_inline int begins_redis(u64 first)
{
	return (u8)first == '*' && (u8)((first >> 8) - '1') < 9 &&
	       ((first >> 16 & 0xffffff) == CRLF_DOLLAR || (first >> 24 & 0xffffff) == CRLF_DOLLAR ||
		(first >> 32 & 0xffffff) == CRLF_DOLLAR);
}

static __always_inline int begins_postgresql(u64 *words, u32 bytes)
{
	u32 version = words[0] >> 32;

	return (version == 0x00000300 || version == 0x02000300) && __builtin_bswap32((u32)words[0]) == bytes &&
	       bytes <= LONGEST_STARTUP && (u8)(words[1] - 'a') < 26;
}

/* One statement, or a batch that is synchronised, which fills the segment. */
static __always_inline int is_postgresql(struct __sk_buff *skb, u32 payload_at, u32 bytes, u64 first)
{
	u64 last = 0;

	if ((u8)first == 'Q')
		return __builtin_bswap32((u32)(first >> 8)) + 1 == bytes;
	return ((u8)first == 'P' || (u8)first == 'B') && bytes > 16 && !bpf_skb_load_bytes(skb, payload_at + bytes - 5, &last, 5) &&
	       last == SYNC;
}

static __always_inline int is_mysql(u64 first, u32 bytes)
{
	u8 command = first >> 32;

	if ((first & 0xffffff) + 4 != bytes || (u8)(first >> 24))
		return 0;
	return command == MYSQL_QUERY || command == MYSQL_PREPARE || (command == MYSQL_EXECUTE && bytes >= 14) ||
	       (command == MYSQL_PING && bytes == 5);
}

/* The greeting of a server: its packet 0, version 10 of the protocol, and its own version. */
static __always_inline int is_greeting(u64 first, u32 bytes)
{
	return (u32)(first >> 8) == 0x0a000000 && (first & 0xff) + 4 == bytes && (u8)((first >> 40) - '0') < 10;
}

#define WORD4(a, b, c, d) ((a) | (b) << 8 | (c) << 16 | (d) << 24)
#define MEMCACHED_NONE 0
#define MEMCACHED_READS 1
#define MEMCACHED_STORES 2 /* a line with a value follows */

static __always_inline int memcached_word(u64 first)
{
	switch ((u32)first) {
	case WORD4('s', 'e', 't', ' '):
	case WORD4('a', 'd', 'd', ' '):
	case WORD4('c', 'a', 's', ' '):
	case WORD4('r', 'e', 'p', 'l'):
	case WORD4('a', 'p', 'p', 'e'):
	case WORD4('p', 'r', 'e', 'p'):
		return MEMCACHED_STORES;
	case WORD4('g', 'e', 't', ' '):
	case WORD4('g', 'e', 't', 's'):
	case WORD4('g', 'a', 't', ' '):
	case WORD4('g', 'a', 't', 's'):
	case WORD4('i', 'n', 'c', 'r'):
	case WORD4('d', 'e', 'c', 'r'):
	case WORD4('d', 'e', 'l', 'e'):
	case WORD4('t', 'o', 'u', 'c'):
	case WORD4('s', 't', 'a', 't'):
	case WORD4('v', 'e', 'r', 's'):
	case WORD4('f', 'l', 'u', 's'):
		return MEMCACHED_READS;
	}
	if ((u8)first != 'm' || (u8)(first >> 16) != ' ')
		return MEMCACHED_NONE;
	switch ((u8)(first >> 8)) {
	case 's':
		return MEMCACHED_STORES;
	case 'g':
	case 'd':
	case 'a':
		return MEMCACHED_READS;
	}
	return MEMCACHED_NONE;
}

/* A client that leaves, or that has the server leave: nothing comes back. */
static __always_inline int memcached_ends(u64 first)
{
	return (u32)first == WORD4('q', 'u', 'i', 't') || (u32)first == WORD4('s', 'h', 'u', 't');
}

/* Which of them a segment shows that begins a turn; 0: none. */
static __always_inline u8 database_of(struct __sk_buff *skb, struct turn_slot *slot, u32 payload_at, u32 bytes, u64 *words,
				      int egress)
{
	int asks = (slot->born & ASKER) == (egress ? SPEAKER_LOCAL : SPEAKER_REMOTE);
	int is_new = !(slot->place & TURN_ASKER_GUESSED), follows = slot->asked > 1;
	u64 first = words[0];
	u16 port;

	if (!(slot->born & ASKER))
		return 0;
	if (!asks)
		return is_new && !slot->asked && is_greeting(first, bytes) && IS_MYSQL_PORT(served_port(skb, slot))
			       ? DATABASE_MYSQL : 0;
	if (is_new && slot->asked == 1 && begins_redis(first))
		return DATABASE_REDIS;
	if (is_new && slot->asked <= 3 && begins_postgresql(words, bytes)) /* it may have asked for encryption before */
		return DATABASE_POSTGRESQL;
	port = served_port(skb, slot);
	if (IS_MEMCACHED_PORT(port))
		return (is_new || follows) && memcached_word(first) ? DATABASE_MEMCACHED : 0;
	if (!follows)
		return 0;
	if (IS_REDIS_PORT(port))
		return begins_redis(first) ? DATABASE_REDIS : 0;
	if (IS_MYSQL_PORT(port))
		return is_mysql(first, bytes) ? DATABASE_MYSQL : 0;
	return IS_POSTGRESQL_PORT(port) && is_postgresql(skb, payload_at, bytes, first) ? DATABASE_POSTGRESQL : 0;
}

/* Returns whether the connection is one with a database from now on. */
static __always_inline int begin_database(struct __sk_buff *skb, struct turn_slot *slot, u64 key, struct said *said, u32 bytes,
					  u64 *words, int egress)
{
	u8 database = database_of(skb, slot, said->payload_at, bytes, words, egress);
	struct exchange *exchange;

	if (!database)
		return 0;
	exchange = exchange_at(slot, key);
	if (!exchange || exchange->certain)
		return 0;
	exchange->asker = slot->born & ASKER;
	exchange->certain = 1;
	exchange->database = database;
	exchange->asked = exchange->answered = 0;
	exchange->heads_known = exchange->plain = 0;
	exchange->values = ALIGNED_AGAIN;
	slot->answers = 0;
	slot->unfinished = TURN_DATABASE;
	return 1;
}

/* Of another protocol, or not to be read. */
static __always_inline void leave_database(struct turn_slot *slot, struct exchange *exchange, u8 unfinished)
{
	exchange->asked = exchange->answered = 0;
	exchange->certain = exchange->database = 0;
	slot->unfinished = unfinished;
}

/* A command is an array of strings, which have their lengths before them: here is the next "*3\r\n" or "$5\r\n". */
static __always_inline void walk_redis(struct exchange *exchange, struct frame_walk *walk, u64 last)
{
	u64 first = walk->header[0], digits, bad, number, inside, values = exchange->values, length;

	number = read_number(first >> 8 | walk->header[1] << 56, &digits, &bad);
	inside = is_set(values);
	bad |= is_set((first & 0xff) ^ ('*' - inside * ('*' - '$')));
	bad |= (last - digits - 2) >> 63;
	walk->requests += (inside ^ 1) & is_set(number);
	exchange->values = number ^ ((number ^ (values - 1)) & -inside);
	length = digits + 3 + ((number + 2) & -inside);
	walk->at += length;
	walk->bad = bad;
}

/* A batch is one request from its first message on; it ends with a Sync, and `values` says whether one is open. */
static __always_inline void walk_postgresql(struct exchange *exchange, struct frame_walk *walk, u64 last)
{
	u64 first = walk->header[0], size = __builtin_bswap32((u32)(first >> 8)), kind, batched, open = exchange->values;

	kind = (1ull << (first & 63)) & -(first >> 6 & 1);
	kind &= -((first >> 7 & 1) ^ 1);
	walk->bad = (last - 4) >> 63 | (size - 4) >> 63 | is_set(size >> 30) | (is_set(kind & POSTGRESQL_ASKED) ^ 1);
	batched = is_set(kind & POSTGRESQL_BATCHED);
	walk->requests += is_set(kind & POSTGRESQL_ALONE) | (batched & (open ^ 1));
	exchange->values = (open | batched) & is_set(kind ^ KIND('S'));
	walk->at += size + 1;
}

static __always_inline void walk_mysql(struct frame_walk *walk, u64 last)
{
	u64 first = walk->header[0], size = first & 0xffffff, is_first = is_set(first & 0xff000000) ^ 1, command;

	is_first &= is_set(size);
	command = first >> 32 & 0xff;
	walk->bad = (last - 3 - is_first) >> 63 | (is_first & is_set(command >> 5) & is_set(command ^ 0xfa));
	command = 1ull << (command & 31) & MYSQL_SILENT & -(is_set(command >> 5) ^ 1);
	walk->requests += is_first & (is_set(command) ^ 1);
	walk->at += size + 4;
}

/* Look at the message at walk->at. Returns whether there may be more. */
static __always_inline int walk_message(struct __sk_buff *skb, struct exchange *exchange, struct frame_walk *walk)
{
	u64 last, is_first;

	AS_STORED();
	if (walk->at >= walk->bytes || walk->bad)
		return 0;
	last = walk->bytes - walk->at - 1;
	if (last > 15)
		last = 15;
	walk->header[0] = walk->header[1] = 0;
	FORGET(last, exchange->batch_ns);
	if (bpf_skb_load_bytes(skb, walk->payload_offset + walk->at, walk->header, (last & 15) + 1))
		return 0;
	walk->size = walk->at;
	is_first = is_set(walk->requests) ^ 1;
	AS_STORED();
	if ((exchange->database & DATABASE_KINDS) == DATABASE_REDIS)
		walk_redis(exchange, walk, last & 15);
	else if ((exchange->database & DATABASE_KINDS) == DATABASE_MYSQL)
		walk_mysql(walk, last & 15);
	else
		walk_postgresql(exchange, walk, last & 15);
	AS_STORED();
	is_first &= is_set(walk->requests);
	walk->part ^= (walk->part ^ walk->size) & -is_first;
	return 1;
}

/* Lines of Memcached in the first part of a segment; room->end is behind the first one. */
static __always_inline u32 count_lines(struct __sk_buff *skb, struct head_room *room)
{
	u64 hits, place, is_first, end = 0, lines = 0;
	u32 number, used = read_part(skb, room, 0);

#pragma clang loop unroll(disable)
	for (number = 0; number < SCANNED_WORDS; number++) {
		HIDE(number);
		if (number >= used)
			break;
		hits = equal_bytes(room->words[number & (SCANNED_WORDS - 1)], '\n');
		place = number * 8 + (((hits & -hits) >> 7) * 0x0001020304050607ull >> 56) + 1;
		is_first = is_set(hits) & (is_set(end) ^ 1);
		end |= place & -is_first;
		lines += (hits >> 7) * 0x0101010101010101ull >> 56;
	}
	room->end = end;
	return lines;
}

#define NOREPLY 0x796c7065726f6e20ull /* " noreply" */

/* The last word of a line that ends with these characters, as a number; `bad` is not 0 if it is none. */
static __always_inline u64 last_number(u64 text, u64 *bad)
{
	u64 spaces, shift, digits;

	spaces = __builtin_bswap64(equal_bytes(text, ' '));
	shift = ((spaces & -spaces) >> 7) * 0x0001020304050607ull >> 56; /* so many characters behind the last space */
	shift = shift * 8 & 63;
	return read_number((text >> (63 & -shift)) | (u64)'\r' << shift, &digits, bad);
}

#define LINE_TAIL 18 /* bytes of a line's end: a number, " noreply", and the line's end itself */

/*
 * Look at eight bytes of lines at walk->at; one begins there if walk->ended, and what it is goes to walk->part. Returns whether
 * there may be more.
 */
static __always_inline int walk_memcached(struct __sk_buff *skb, struct frame_walk *walk)
{
	u64 last, ends, text, silent, stores, size, bad = 0;

	if (walk->at >= walk->bytes || walk->bad)
		return 0;
	last = walk->bytes - walk->at - 1;
	if (last > 7)
		last = 7;
	FORGET(last, walk->header[3]);
	walk->header[0] = 0;
	if (bpf_skb_load_bytes(skb, walk->payload_offset + walk->at, walk->header, (last & 7) + 1))
		return 0;
	AS_STORED();
	text = walk->header[0];
	if (walk->ended) {
		walk->part = memcached_word(text);
		walk->size = (u32)text;
		walk->bad = !walk->part;
		walk->ended = 0;
	}
	AS_STORED();
	ends = equal_bytes(text, '\n');
	if (!ends) {
		walk->at += 8;
		return 1;
	}
	walk->at += (((ends & -ends) >> 7) * 0x0001020304050607ull >> 56) + 1;
	walk->ended = 1;
	if (bpf_skb_load_bytes(skb, walk->payload_offset + walk->at - LINE_TAIL, walk->header, LINE_TAIL - 2))
		return 0;
	AS_STORED();
	silent = is_set(walk->header[1] ^ NOREPLY) ^ 1;
	text = walk->header[1] ^ ((walk->header[1] ^ walk->header[0]) & -silent);
	size = last_number(text, &bad) + 2;
	stores = is_set(walk->part ^ MEMCACHED_STORES) ^ 1;
	walk->at += size & -stores;
	walk->requests += silent ^ 1;
	walk->bad |= stores & (is_set(bad) | (is_set(walk->size ^ WORD4('c', 'a', 's', ' ')) ^ 1)); /* its last number is another */
	AS_STORED();
	return 1;
}

/* The commands behind the first one, which ends at walk->at. Returns whether it is known where the last one ends. */
static __always_inline int walk_further(struct __sk_buff *skb, struct frame_walk *walk)
{
	u32 number;

	walk->bad = 0;
	walk->ended = 1;
#pragma clang loop unroll(disable)
	for (number = 0; number < STEPS_OF_LINES; number++) {
		HIDE(number);
		walk->more = walk_memcached(skb, walk);
		AS_STORED();
		if (!walk->more)
			break;
	}
	AS_STORED();
	walk->part = 0;
	walk->requests += (walk->ended | walk->bad) ^ 1; /* its line goes on */
	return walk->ended && !walk->bad && walk->at >= walk->bytes;
}

/*
 * Commands of Memcached begin where the last one ended, if that is known: behind its line, or behind the value that follows,
 * whose length most lines end with. What asks for no answer is no request.
 */
static __always_inline void count_memcached(struct __sk_buff *skb, struct exchange *exchange, struct head_room *room)
{
	struct frame_walk *walk = &room->walk;
	int word = memcached_word(room->start[0]), is_cas = (u32)room->start[0] == WORD4('c', 'a', 's', ' ');
	u64 tail = 0, bad = 0, size = 0;
	u32 lines, end, line;
	int known;

	if (!room->begins_turn && (exchange->values == ALIGNED_AGAIN || exchange->next != walk->begin)) {
		if (word)
			exchange->database |= DATABASE_PARTIAL;
		return;
	}
	exchange->values = ALIGNED_AGAIN;
	if (memcached_ends(room->start[0]))
		return;
	lines = count_lines(skb, room);
	AS_STORED();
	end = room->end;
	/* one line is a command all the same, which the server may know */
	if (!word && (end != walk->bytes || (u8)(room->start[0] - 'a') >= 26)) {
		exchange->database |= DATABASE_PARTIAL;
		return;
	}
	walk->requests = 1;
	line = end - 2;
	if (end > 10 && end <= SCANNED_BYTES && !bpf_skb_load_bytes(skb, walk->payload_offset + line - 8, &tail, sizeof(tail)) &&
	    tail == NOREPLY) {
		walk->requests = 0;
		line -= 8;
	}
	if (word == MEMCACHED_STORES) {
		bad = end <= 10 || is_cas || bpf_skb_load_bytes(skb, walk->payload_offset + line - 8, &tail, sizeof(tail));
		if (!bad)
			size = last_number(tail, &bad) + 2;
		if (bad) { /* as much as there is, if that is one value */
			bad = lines != 2 || walk->bytes > SCANNED_BYTES;
			size = walk->bytes - end;
		}
	}
	walk->at = end + size;
	known = !bad && end;
	AS_STORED();
	if (known && walk->at < walk->bytes)
		known = walk_further(skb, walk);
	if (!known) {
		exchange->database |= DATABASE_PARTIAL;
		return;
	}
	exchange->next = walk->begin + walk->at;
	exchange->values = 0;
}

/* A client that will encrypt or compress, as its first packet says, is not read on. */
static __always_inline int is_left(struct __sk_buff *skb, struct turn_slot *slot, struct exchange *exchange, u64 first)
{
	u32 able = first >> 32;

	if ((exchange->database & DATABASE_KINDS) != DATABASE_MYSQL || exchange->asked || (u8)(first >> 24) != 1)
		return 0;
	if (!(able & (MYSQL_SSL | MYSQL_COMPRESSED)))
		return 0;
	leave_database(slot, exchange, able & MYSQL_SSL ? 0 : TURN_TUNNEL);
	return 1;
}

/* How many requests begin in a segment: walk->requests, the first of them at walk->part. */
static __always_inline void walk_commands(struct __sk_buff *skb, struct exchange *exchange, struct head_room *room)
{
	struct frame_walk *walk = &room->walk;
	u32 number;

	if (exchange->values == ALIGNED_AGAIN) {
		if (!room->begins_turn)
			return;
		exchange->next = walk->begin;
		exchange->values = 0;
	}
	if ((s32)(exchange->next - walk->begin) < 0) { /* a message began in what was missed */
		exchange->database |= DATABASE_PARTIAL;
		exchange->values = ALIGNED_AGAIN;
		return;
	}
	walk->at = walk->part = exchange->next - walk->begin;
	walk->bad = 0;
	AS_STORED();
#pragma clang loop unroll(disable)
	for (number = 0; number < MESSAGES_WALKED; number++) {
		HIDE(number);
		if (!walk_message(skb, exchange, walk))
			break;
	}
	AS_STORED();
	exchange->next = walk->begin + walk->at;
	if (!walk->bad && walk->at >= walk->bytes)
		return;
	exchange->values = ALIGNED_AGAIN;
	/* the rows of a COPY, which come in a turn of their own and ask for nothing */
	if ((exchange->database & DATABASE_KINDS) != DATABASE_POSTGRESQL || (u8)walk->header[0] != 'd')
		exchange->database |= DATABASE_PARTIAL;
}

/* What the end sends that asks. */
static __always_inline void take_commands(struct __sk_buff *skb, u64 key, struct turn_slot *slot, struct exchange *exchange,
					  struct head_room *room)
{
	struct frame_walk *walk = &room->walk;
	struct http_head *head = &room->head;
	u32 waiting, requests, at;
	u8 known, listed;

	walk->requests = walk->part = 0;
	known = exchange->database & DATABASE_KINDS;
	if (is_left(skb, slot, exchange, room->start[0]))
		return;
	if (known == DATABASE_POSTGRESQL && !(u8)room->start[0] && !exchange->asked) {
		walk->requests = 1; /* of a whole startup message, see database_of() */
		exchange->next = walk->begin + walk->bytes;
		exchange->values = 0;
	} else if (known == DATABASE_MEMCACHED) {
		count_memcached(skb, exchange, room);
	} else if (known == DATABASE_MYSQL && !exchange->asked && (u8)(room->start[0] >> 24) == 1) {
		walk->requests = 1; /* a login */
		exchange->values = ALIGNED_AGAIN;
	} else {
		walk_commands(skb, exchange, room);
	}
	AS_STORED();
	requests = walk->requests;
	if (!requests)
		return;
	waiting = exchange->asked - exchange->answered;
	at = walk->part;
	listed = at <= PASSED_BYTES && may_list_head(DUE_REQUESTS, key, head->time_ns);
	known = exchange->database & ~DATABASE_MANY;
	head->http2 = waiting || known & DATABASE_OVERLAPS ? 0 : DATABASE_BEGINS;
	if (waiting)
		known |= DATABASE_OVERLAPS;
	if (!listed || !(head->http2 || known & DATABASE_FOLLOWED))
		known &= ~DATABASE_FOLLOWED;
	else
		known |= DATABASE_FOLLOWED;
	if (known & DATABASE_OVERLAPS && !(known & DATABASE_FOLLOWED)) /* its failures are not told apart here */
		known |= DATABASE_PARTIAL;
	if (requests > 1 || known & DATABASE_OVERLAPS)
		known |= DATABASE_MANY;
	if (listed)
		known |= DATABASE_LISTED;
	if (!waiting)
		exchange->batch_ns = head->time_ns;
	exchange->database = known;
	exchange->method = 0; /* of what was asked last no failure is counted yet */
	head->number = exchange->asked;
	exchange->asked += requests;
	if (!listed) {
		count_unlisted(requests);
		return;
	}
	head->kind = DATABASE_REQUEST;
	head->http2 |= known & ~DATABASE_BEGINS;
	head->requests = requests < 255 ? requests : 255;
	head->seq += at;
	head->payload_offset += at;
	head->payload_bytes -= at;
	room->most = known & DATABASE_MANY ? CAPTURED_REQUEST_BYTES : CAPTURED_COMMAND_BYTES;
}

/* Whether an answer of PostgreSQL has an error behind what may come before one. */
static __always_inline int has_error(struct __sk_buff *skb, struct frame_walk *walk)
{
	u64 first, kind;
	u32 step;

	walk->at = 0;
#pragma clang loop unroll(disable)
	for (step = 0; step < 8; step++) {
		HIDE(step);
		walk->header[0] = 0;
		AS_STORED();
		if (walk->at >= walk->bytes || bpf_skb_load_bytes(skb, walk->payload_offset + walk->at, walk->header, 5))
			return 0;
		AS_STORED();
		first = walk->header[0];
		if ((u8)first == 'E')
			return 1;
		kind = (1ull << (first & 63)) & -(first >> 6 & 1);
		if (!(kind & POSTGRESQL_BEFORE_ERRORS) && (u8)first != '1' && (u8)first != '2')
			return 0;
		walk->at += __builtin_bswap32((u32)(first >> 8)) + 1;
	}
	return 0;
}

static __always_inline int begins_with_error(struct __sk_buff *skb, struct exchange *exchange, struct head_room *room)
{
	u64 first = room->start[0];

	switch (exchange->database & DATABASE_KINDS) {
	case DATABASE_POSTGRESQL:
		return has_error(skb, &room->walk);
	case DATABASE_MYSQL:
		return (u8)(first >> 32) == 0xff && (u8)(first >> 24);
	case DATABASE_REDIS:
		return (u8)first == '-' || (u8)first == '!';
	}
	return (first & FIRST_SEVEN) == 0x0a0d524f525245ull /* "ERROR\r\n" */ || first == 0x455f544e45494c43ull /* "CLIENT_E" */ ||
	       first == 0x455f524556524553ull; /* "SERVER_E" */
}

/* How an answer of Redis may begin; bits by character less 32. */
#define REDIS_ANSWERS                                                                                                  \
	(1ull << ('+' - 32) | 1ull << ('-' - 32) | 1ull << (':' - 32) | 1ull << ('$' - 32) | 1ull << ('*' - 32) |      \
	 1ull << ('_' - 32) | 1ull << (',' - 32) | 1ull << ('#' - 32) | 1ull << ('!' - 32) | 1ull << ('=' - 32) |      \
	 1ull << ('(' - 32) | 1ull << ('%' - 32) | 1ull << ('>' - 32))

static __always_inline int may_be_redis(u8 first)
{
	return first == '~' || first == '|' || ((u8)(first - 32) < 64 && 1ull << ((first - 32) & 63) & REDIS_ANSWERS);
}

/* What the other end sends. */
static __always_inline void take_replies(struct __sk_buff *skb, u64 key, struct turn_slot *slot, struct exchange *exchange,
					 struct head_room *room)
{
	u32 waiting = exchange->asked - exchange->answered;
	struct http_head *head = &room->head;
	u8 known = exchange->database;

	if (!exchange->asked)
		return;
	head->number = exchange->asked;
	head->kind = DATABASE_ANSWER;
	head->requests = 0;
	if (waiting) {
		if ((known & DATABASE_KINDS) == DATABASE_REDIS && !exchange->answered && !may_be_redis(room->start[0])) {
			head->http2 = known & ~DATABASE_KINDS; /* it is not Redis */
			room->most = known & DATABASE_LISTED ? CAPTURED_REPLY_BYTES : 0;
			leave_database(slot, exchange, TURN_TUNNEL);
			return;
		}
		note_latency(exchange, exchange->batch_ns, head->time_ns);
		exchange->answered = exchange->asked;
	}
	if (!(known & DATABASE_FOLLOWED)) {
		if (!room->begins_turn)
			return;
		if (waiting > 1)
			exchange->database |= DATABASE_PARTIAL;
		if (!exchange->method && begins_with_error(skb, exchange, room)) {
			exchange->method = 1;
			exchange->failed_5xx++;
		}
		return;
	}
	if (!room->begins_turn && (!(known & DATABASE_MANY) || !may_list_head(DUE_REQUESTS, key, head->time_ns))) {
		if (known & DATABASE_MANY)
			exchange->database = (known & ~DATABASE_FOLLOWED) | DATABASE_PARTIAL;
		return;
	}
	head->http2 = known & ~DATABASE_BEGINS;
	room->most = known & DATABASE_MANY ? CAPTURED_REQUEST_BYTES : CAPTURED_REPLY_BYTES;
}

/* Whether a segment of a connection with a database tells nothing: most of a long value, or of a long answer. */
static __always_inline int is_value(u64 key, struct turn_slot *slot, struct said *said, u32 end, int egress)
{
	struct exchange *exchange = exchange_at(slot, key);

	if (!exchange)
		return 1;
	if (exchange->asker == (egress ? SPEAKER_LOCAL : SPEAKER_REMOTE))
		return exchange->values != ALIGNED_AGAIN && (s32)(exchange->next - end) >= 0;
	return !said->begins_turn && !(exchange->database & DATABASE_MANY) && exchange->asked == exchange->answered;
}

static __always_inline void take_database(struct __sk_buff *skb, u64 key, struct turn_slot *slot, struct head_room *room)
{
	struct exchange *exchange = exchange_at(slot, key);
	struct http_head *head = &room->head;
	u32 end = head->seq + head->payload_bytes;
	u32 *seen;
	u8 way = 1 << head->egress;

	if (!exchange)
		return;
	seen = head->egress ? &exchange->heads[1] : &exchange->heads[0];
	if (exchange->heads_known & way && (s32)(end - *seen) <= 0) /* sent again */
		return;
	*seen = end;
	exchange->heads_known |= way;
	if (exchange->asker == (head->egress ? SPEAKER_LOCAL : SPEAKER_REMOTE))
		take_commands(skb, key, slot, exchange, room);
	else
		take_replies(skb, key, slot, exchange, room);
}

/* What take_head_of() leaves to this program: a segment of a connection that is marked. */
static __always_inline void continue_database(struct __sk_buff *skb)
{
	struct head_room *room = taken_room();
	u64 key = (u64)packet_socket(skb);
	struct turn_slot *slot;

	if (!room)
		return;
	slot = slot_of(room);
	if (slot)
		take_database(skb, key, slot, room);
	end_head(skb, key, room);
}

int databases(struct __sk_buff *skb)
{
	continue_database(skb);
	return 1;
}

#endif
