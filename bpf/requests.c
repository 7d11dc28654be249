/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Requests of HTTP/1 and their answers, and the hellos of TLS, by the first bytes of segments: packets.c calls this for TCP
 * payload, with the slot that turns.c has found. Compiled only if the setting `requests` is on.
 *
 * Only the end that connected asks. A request's head is a method, a space and a target; an answer's head counts while a
 * request waits for it, so that a body which looks like one is none. Every head is counted in the kernel, and so many a
 * second are handed on, an answer where its request was. What a head says is read by nettop, not here.
 *
 * The bytes are looked at eight at a time and without a branch each, because the verifier follows every branch.
 */
#ifdef REQUESTS

#define HEAD_BYTES 16             /* of a segment are looked at: the longest methods have 17, those that are used 11 */
#define ANSWER_BYTES 13           /* "HTTP/1.1 200" and what follows */
#define CAPTURED_REQUEST_BYTES 1024 /* as far as Host and traceparent are found in practice */
#define CAPTURED_ANSWER_BYTES 512
#define CAPTURED_HELLO_BYTES 2048 /* of a client: with a key share that is safe from quantum computers it has 1,750 */
#define CAPTURED_MASK (CAPTURED_HELLO_BYTES - 1)
#define MOST_HELLOS 6 /* messages of one handshake: two hellos of each side, if the server asks again, and an alert */
#define REQUESTS_AT_ONCE 300      /* in a test of a second 3,000 made "1,500 a second" cost twice as much */
#define PREFACE_1 0x5448202a20495250ull /* "PRI * HT" */
#define PREFACE_2 0x0a0d302e322f5054ull /* "TP/2.0" and a line end */
#define ASKED_AT_ONCE 64          /* pipelined; of more it is not remembered which are handed on */

/* Each byte of a word that is the character: its top bit; exact, whatever the others are. */
#define EACH(byte) ((byte) * 0x0101010101010101ull)
#define TOP_BITS EACH(0x80ull)
static __always_inline u64 equal_bytes(u64 word, u8 character)
{
	u64 each = EACH((u64)character), top = TOP_BITS, rest;

	HIDE(each); /* or clang keeps every such number on the stack, which has no room for them */
	HIDE(top);
	each ^= word;
	rest = each & ~top;
	return ~((rest + ~top) | each) & top;
}

/* Decimal digits, as many as there are before the next "\r"; see how many in `digits`. `bad` is not 0 if that is no number. */
static __always_inline u64 read_number(u64 word, u64 *digits, u64 *bad)
{
	u64 returns = equal_bytes(word, '\r'), zeros = EACH((u64)'0'), sixes = EACH(6ull), tens = EACH(0xf0ull), number, count;

	HIDE(zeros);
	HIDE(sixes);
	HIDE(tens);
	count = ((returns & -returns) >> 7) * 0x0001020304050607ull >> 56;
	*bad = is_set(count) ^ 1;
	*digits = count;
	count = (64 - count * 8) & 63;
	number = (word << count) ^ (zeros << count);
	*bad |= is_set(((number + sixes) | number) & tens);
	number = (number * 10 + (number >> 8)) & 0x00ff00ff00ff00ffull;
	number = (number * 100 + (number >> 16)) & 0x0000ffff0000ffffull;
	return (number * 10000 + (number >> 32)) & 0xffffffff;
}

/* A method is a token (RFC 9110 section 9.1): of capitals and hyphens, in practice. */
static __always_inline u64 method_bytes(u64 word)
{
	u64 from_a = EACH(0x80ull - 'A'), beyond_z = EACH(0x80ull - 'Z' - 1), top = TOP_BITS, low;

	HIDE(top);
	HIDE(from_a);
	HIDE(beyond_z);
	low = word & ~top;
	from_a += low;
	beyond_z += low;
	return (from_a & ~beyond_z & ~word & top) | equal_bytes(word, '-');
}

/* A target (RFC 9112 section 3.2) is a path, a whole URL, or "*". */
static __always_inline u64 target_bytes(u64 word)
{
	return equal_bytes(word, '/') | equal_bytes(word, 'h') | equal_bytes(word, '*');
}

#define IS_CAPITAL(character) ((u8)((character) - 'A') < 26)
#define CONNECT_ 0x205443454e4e4f43ull /* "CONNECT " */
#define GET_PATH 0x2f20544547ull /* "GET /" */
#define FIRST_FIVE 0xffffffffffull
#define EMPTY_LINE 0x0a0d /* may come before a request: RFC 9112 section 2.2 */

/* Whether these 16 bytes begin a request: a method of three letters or more, a space, and how a target begins. */
static __always_inline int begins_request(u64 *words)
{
	u64 other, first, second = 0, spaces, targets;

	if ((words[0] & FIRST_FIVE) == GET_PATH) /* nearly all of them */
		return 1;
	other = ~method_bytes(words[0]) & TOP_BITS;
	first = other & -other;
	if (!first) {
		second = ~method_bytes(words[1]) & TOP_BITS;
		second &= -second;
	}
	spaces = (equal_bytes(words[0], ' ') & first) | (equal_bytes(words[1], ' ') & second);
	targets = (target_bytes(words[0]) & (first << 8)) | (target_bytes(words[1]) & ((second << 8) | (first >> 56)));
	return (spaces && targets && !(first & 0x808080)) || words[0] == CONNECT_;
}

#define METHOD_UNUSUAL 0 /* perhaps of another protocol: counts once an answer of HTTP has come */
#define METHOD_BODY 1    /* what follows may be a body, so it is no request until the answer has come; with some heads also of: */
#define METHOD_BARE 2
#define METHOD_CONNECT 3

#define GOES_ON_REQUEST 1 /* with the head of a request, */
#define GOES_ON_FIRST 2   /* one that comes to a listener, */
#define GOES_ON_CHUNKS 3  /* a body, */
#define GOES_ON_ANSWERS 4 /* answers to several requests, or one behind informational ones, */
#define GOES_ON_EMPTY 5   /* a request behind an empty line, */
#define GOES_ON_HEAD 6    /* the head of a request that began before, */
#define GOES_ON_LOST 7    /* what is to be told of answers that nobody can tell apart */

#define HEAD_WORD 0x44414548

/* By its first four bytes, in their order in memory. */
static __always_inline int method_of(u32 first)
{
	switch (first) {
	case 0x20544547: /* GET */
	case HEAD_WORD:
	case 0x454c4544: /* DELETE */
	case 0x4954504f: /* OPTIONS */
	case 0x43415254: /* TRACE */
		return METHOD_BARE;
	case 0x54534f50: /* POST */
	case 0x20545550: /* PUT */
	case 0x43544150: /* PATCH */
		return METHOD_BODY;
	case 0x4e4e4f43: /* CONNECT */
		return METHOD_CONNECT;
	}
	return METHOD_UNUSUAL;
}

#define HEADS_ENDED 4 /* where a request began is told by where its last byte is, */
#define HEADS_LOST 8  /* and which answer is whose is not known any more */
#define TIMED 2 /* requests that wait at once, of which the kernel side knows when each began */

/* The requests of the connection whose turns lie in the same place of `turns`; see `born` there. */
struct exchange {
	u64 listed;          /* by number modulo 64: it was handed on, and so is its answer */
	union {
		u64 asked_ns[TIMED]; /* by number modulo TIMED */
		struct {             /* of a database: */
			u64 batch_ns; /* when what waits was asked */
			u32 next;     /* sequence number where the next message of the asking end begins */
			u32 values;   /* what is still to come: strings of a command of Redis, a Sync of PostgreSQL; ALIGNED_AGAIN */
		};
	};
	u32 born;
	u32 asked;    /* written by what asks only, */
	u32 answered; /* and this by what answers: they may run at the same time; see answers_to() */
	u32 failed_4xx;
	u32 failed_5xx;
	u32 slowest_us;
	u32 heads[2]; /* where the newest head began that was received, and sent */
	u8 heads_known; /* 1: of what was received, 2: of what was sent; HEADS_* */
	u8 asker;
	u8 certain;   /* it is HTTP */
	u8 method;    /* METHOD_* of the newest request */
	u8 plain;     /* requests were TURN_PLAIN: the times of their answers are those of turns */
	u8 http2;     /* HTTP2_*: http2.c */
	u8 database;  /* DATABASE_*: databases.c */
	u8 without_bodies; /* of what waits a HEAD may be one */
};
#define http2_unlisted heads[0] /* of HTTP/2, which has no use for that: requests that were not handed on */
_Static_assert(sizeof(struct exchange) == 64, "exchange");
BPF_F_TABLE("array", int, struct exchange, exchanges, 1 << TURN_SLOTS_BITS, PAGE_ALIGNED);

#define HTTP_CHUNKS 255 /* of a body: nothing of it is handed on, nor */
#define HTTP_INTERIM 254 /* of the head of an informational answer, nor */
#define HTTP_ANSWERS 253 /* of what comes before the next answer, where several are awaited, nor */
#define HTTP_BODY 252 /* of a request's body, of which the length is said */
/* What was sent of a head that goes on in the next segment, or where the next chunk of a body, or the next answer or request, begins. */
struct unfinished {
	u32 begin;
	u32 next;     /* where it goes on */
	u32 born;
	u32 number;   /* of the request whose rest is handed on */
	u16 room;     /* how much of it */
	u8 bytes;     /* of `text`: it is not yet known what it is */
	u8 kind;      /* HTTP_REST, TLS_REST, or one of the four above */
	union {
		u64 text[4]; /* HEAD_BYTES from the segment, and as many from the next */
		struct {     /* of a request's head, or an informational answer's: */
			u64 tail;    /* its last bytes, which may be part of its end */
			u64 status;  /* see room->start[1]; or */
			u64 length;  /* what it has said of its body so far, as in head_room, */
			u8 body;
			u8 expects;
			u8 method;   /* and what the request is */
			u8 listed;
		};
	};
};
/* By the socket's address, with 1 added for what it sends. */
BPF_TABLE("lru_hash", u64, struct unfinished, unfinished_heads, 1024);
BPF_ARRAY(nothing_unfinished, struct unfinished, 1);

/* A request that came with a SYN: its connection gets an entry only once the handshake is complete. */
struct early_key {
	u32 netns;
	u32 remote; /* the last four bytes of the address */
	u16 remote_port;
	u16 local_port;
};
struct early_request {
	u64 time_ns;
	u32 begin;
	u8 listed;
	u8 method;
	u8 requests;
	u8 pad;
};
BPF_TABLE("lru_hash", struct early_key, struct early_request, early_requests, 1024);

#define SCANNED_BYTES 512
#define SCANNED_WORDS (SCANNED_BYTES / 8)
#define SCANS 4        /* of so many bytes each, at a time */
#define SCANS_OF_MANY 2 /* so many for requests that are taken together: not more than are captured */
#define SCAN_OVERLAP 32 /* bytes that are looked at again the next time: a field that tells of a body is shorter */
#define FIELDS_TOLD 4  /* of a head, that may tell of a body: these are two at most, or others that look like them */
#define AS_STORED() asm volatile("" ::: "memory") /* clang is to read again what it has just written */
#define FRAMES_BYTES 4096
/* Of a segment of HTTP/2: see http2.c. */
struct frame_walk {
	u64 header[4];      /* of the frame that is looked at; what lies behind it is noise */
	u64 buffer;         /* not in a packet but here, in the memory of the process that runs */
	u32 begin;          /* sequence number of the segment, */
	u32 bytes;          /* and how many it has, */
	u32 payload_offset; /* from here on */
	u32 used;           /* bytes of frames that were copied, */
	u32 at;             /* where this frame goes on, */
	u32 part;           /* with so many */
	u32 total;          /* of so many that are to be handed on, */
	u32 continued;      /* of which so many belong to a frame that began before */
	u32 size;           /* of a frame */
	u32 requests;       /* that begin in the segment, */
	u32 first_stream;   /* the first of them on this stream */
	u32 heads;          /* HEADERS and RST_STREAM */
	u32 wanted;         /* of the answering end: of these what concerns streams that are listed */
	u32 ended;          /* streams that the answering end has ended */
	u32 stream_before;
	u32 next_before;
	u8 asks;            /* the client sent it */
	u8 hands_on;        /* a frame of a kind that is handed on */
	u8 copies;          /* there is room for what is handed on, and it is its turn */
	u8 bad;
	u8 rejoins;
	u8 runs;            /* of the program that walks them, or WALK_ENDED */
	u8 more;            /* not all of its frames have been looked at */
	u8 in_scope;        /* what the socket says may be handed on */
	u8 pad[4];
};
/* The record of a head, and what is searched for its end: the stack has no room for them. See records_at_hand in tcp.c. */
struct head_room {
	u64 start[2];  /* HEAD_BYTES of the message, */
	u64 behind[2]; /* and of what follows its head */
	u64 place;     /* key of unfinished_heads */
	u32 tail;      /* the last bytes of a head that goes on: note_tail() */
	u32 end;       /* of the head; 0: it does not end in this segment */
	u32 ends;      /* of heads that end in what was looked at, */
	u32 last_end;  /* and of the last of them */
	u64 fields;    /* not 0: some may tell of a body, */
	u64 told;      /* so many, whose places are in `found` */
	u64 length;    /* of the body */
	u32 failures;  /* 1 if an answer has 4xx and, in the upper half, if it has 5xx */
	u64 found[2 * FIELDS_TOLD]; /* see scan_part() */
	u32 number;    /* What is known before a search and used after it: the verifier follows a search once for each state that
			* it knows, but does not know what is in a map. */
	u8 method;
	u8 listed;
	u8 begins_turn; /* the segment does */
	u8 may_be_plain;
	u8 upgrades;    /* to another protocol */
	u8 stops;       /* what follows the first head is not looked at */
	u8 body;        /* BODY_*: bodies.c */
	u8 expects;     /* the client may wait for a word of the server before it sends the body, */
	u8 expects_before; /* as what came of the head before said */
	u16 captures;   /* so much more of a head */
	u8 within;      /* the body of a request */
	u8 behind_gap;  /* what comes before it is still on its way */
	u8 goes_on;     /* GOES_ON_*: with what the program `requests` takes over */
	u32 requests;   /* in the segment */
	u32 most;      /* bytes of payload to hand on; 0: nothing is */
	u32 turn;      /* where the connection's turns are */
	struct frame_walk walk;
	struct spilled_head spilled; /* in front of the record, of plaintext */
	struct http_head head;
	union { /* what follows the head in the record, if that are frames */
		u64 words[SCANNED_WORDS + 4];
		u8 frames[2 * FRAMES_BYTES];
	};
};
struct head_rooms {
	u64 taken;
	struct head_room rooms[NESTED];
};
BPF_PERCPU_ARRAY(head_rooms, struct head_rooms, 1);

/* Programs in which both packet programs continue, because the verifier would follow them in each. See Continuation in hooks.py. */
#define FRAMES 0
#define DATABASES 1
#define REQUESTS_ASKED 2
BPF_PROG_ARRAY(continuations, 3);

static __always_inline struct head_rooms *rooms_here(void)
{
	int only = 0;

	return head_rooms.lookup(&only);
}

static __always_inline struct head_room *room_at(struct head_rooms *all, u64 number)
{
	struct head_room *room;

	if (number >= NESTED)
		return 0;
	ONE_OF(room, all->rooms, number);
	return room;
}

static __always_inline struct head_room *take_room(void)
{
	struct head_rooms *all = rooms_here();
	struct head_room *room;
	u64 taken;

	if (!all)
		return 0;
	taken = *(volatile u64 *)&all->taken;
	room = room_at(all, taken);
	if (room)
		*(volatile u64 *)&all->taken = taken + 1;
	return room;
}

/* That which was taken last: of a program that continues another. */
static __always_inline struct head_room *taken_room(void)
{
	struct head_rooms *all = rooms_here();

	return all ? room_at(all, *(volatile u64 *)&all->taken - 1) : 0;
}

/* A room with a record of nothing but this. */
static __always_inline struct head_room *take_room_for(u64 time_ns, u32 netns, u32 payload_offset, u32 payload_bytes)
{
	struct head_room *room = take_room();
	struct http_head *head;

	if (!room)
		return 0;
	head = &room->head;
	__builtin_memset(head, 0, sizeof(*head));
	head->time_ns = time_ns;
	head->netns = netns;
	head->payload_offset = payload_offset;
	head->payload_bytes = payload_bytes;
	return room;
}

static __always_inline void give_room_back(void)
{
	struct head_rooms *all = rooms_here();

	if (all)
		*(volatile u64 *)&all->taken -= 1;
}

/*
 * Look for ends of heads in a part of a segment: two line ends with nothing between them. The last word is that which the next
 * part begins with. With `tells` lines may end without a carriage return, and what there is between them is at most that.
 */
#define SCAN_STEP (SCANNED_BYTES - 8)

/* Where eight bytes do not have this, by their top bits, they have nothing of what body_bytes() looks for; at half of its cost. */
static __always_inline u64 maybe_body_bytes(u8 *at)
{
	u64 fourth = EACH(0xd6ull), d = EACH(0x44ull), hyphens = EACH((u64)'-'), ones = EACH(1ull);

	HIDE(fourth);
	HIDE(d);
	HIDE(hyphens);
	HIDE(ones);
	hyphens = (hyphens ^ *(u64 *)(at + 2)) | ((fourth & *(u64 *)(at + 3)) ^ d);
	return (hyphens - ones) & ~hyphens;
}

/*
 * Which of eight bytes begin "nt-l", as in Content-Length, or "er-e", as in Transfer-Encoding, in letters of any size, or what has
 * the same bits where these agree, as a few other fields have; most heads have none. Only the lowest bit is certain.
 */
static __always_inline u64 body_bytes(u8 *at)
{
	u64 first = EACH(0xd4ull), second = EACH(0xd9ull), fourth = EACH(0xd6ull), d = EACH(0x44ull), p = EACH(0x50ull);
	u64 hyphens = EACH((u64)'-'), ones = EACH(1ull), top = TOP_BITS;

	HIDE(top);
	HIDE(first);
	HIDE(second);
	HIDE(fourth);
	HIDE(d);
	HIDE(p);
	HIDE(hyphens);
	HIDE(ones);
	first = ((first & *(u64 *)at) ^ d) | ((second & *(u64 *)(at + 1)) ^ p) | (hyphens ^ *(u64 *)(at + 2)) |
		((fourth & *(u64 *)(at + 3)) ^ d);
	return (first - ones) & ~first & top;
}

/* Where eight bytes do not have this, by their top bits, none begins "xp", as in Expect. */
static __always_inline u64 expect_bytes(u8 *at)
{
	u64 lower = EACH(0x20ull), x = EACH((u64)'x'), p = EACH((u64)'p'), ones = EACH(1ull);

	HIDE(lower);
	HIDE(x);
	HIDE(p);
	HIDE(ones);
	x = ((lower | *(u64 *)at) ^ x) | ((lower | *(u64 *)(at + 1)) ^ p);
	return (x - ones) & ~x;
}

/* Returns how many words there are, with zeros behind them. */
static __always_inline u32 read_part(struct __sk_buff *skb, struct head_room *room, u32 from)
{
	u64 *words = room->words, length = room->head.payload_bytes - from - 1;

	if (length > SCANNED_BYTES - 1)
		length = SCANNED_BYTES - 1;
	FORGET(length, room->head.time_ns);
	length &= SCANNED_BYTES - 1;
	words[length >> 3] = words[(length >> 3) + 1] = 0;
	if (bpf_skb_load_bytes(skb, room->head.payload_offset + from, words, length + 1))
		return 0;
	return (length >> 3) + 1;
}

/* With `tells` also where fields begin that may tell of a body; else only whether there may be one, see maybe_body_bytes(). */
static __always_inline void scan_part(struct __sk_buff *skb, struct head_room *room, u32 from, int tells)
{
	u64 *words = room->words, lines, next, hits, bare, place, is_first, end = room->end, ends = 0, fields = 0;
	u64 last_end = room->last_end;
	u64 field, expects = 0, told = room->told, stops = -(u64)room->stops;
	u8 *at, line_end = tells ? '\n' : '\r';
	u32 number, used = read_part(skb, room, from);

	if (tells)
		used &= (u32)is_set(end & stops) - 1;
	lines = equal_bytes(words[0], line_end);
#pragma clang loop unroll(disable)
	for (number = 0; number < SCANNED_WORDS - 1; number++) {
		HIDE(number); /* or clang leaves out the bound that the verifier needs */
		if (number >= used)
			break;
		next = equal_bytes(words[(number & (SCANNED_WORDS - 1)) + 1], line_end);
		at = (u8 *)&words[number & (SCANNED_WORDS - 1)];
		field = tells ? body_bytes(at) : maybe_body_bytes(at);
		fields |= field;
		if (tells) {
			room->found[told & (2 * FIELDS_TOLD - 1)] = from + number * 8 + (((field & -field) >> 7) * 0x0001020304050607ull >> 56);
			told += is_set(field) & (is_set(end) ^ 1); /* of the first head */
			expects |= expect_bytes(at);
		}
		hits = lines & ((lines >> 16) | (next << 48));
		if (tells) {
			bare = lines & (lines >> 8 | next << 56);
			hits |= bare;
		}
		lines = next;
		hits &= -hits;
		place = from + number * 8 + ((hits >> 7) * 0x0001020304050607ull >> 56) + 4;
		if (tells)
			place -= 1 + is_set(hits & bare);
		hits = is_set(hits);
		is_first = hits & (is_set(end) ^ 1);
		end |= place & -is_first;
		last_end += (place - last_end) & -hits;
		ends += hits;
		if (tells)
			used &= (u32)is_set(end & stops) - 1;
	}
	room->end = end;
	room->last_end = last_end;
	room->ends += ends;
	room->fields |= fields & TOP_BITS;
	if (tells) {
		room->told = told;
		room->expects |= is_set(expects & TOP_BITS);
	}
}

#define HTTP_1_ 0x2e312f50545448ull /* "HTTP/1." */
#define FIRST_SEVEN 0xffffffffffffffull

static __always_inline struct exchange *exchange_at(struct turn_slot *slot, u64 socket)
{
	u32 index = turn_index(socket) ^ (slot->place & (TURN_PLACES - 1));
	struct exchange *exchange = exchanges.lookup(&index);

	if (exchange && exchange->born != slot->born) {
		__builtin_memset(exchange, 0, sizeof(*exchange));
		exchange->born = slot->born;
		exchange->asker = slot->place & TURN_ASKER_GUESSED ? SPEAKER_NOBODY : slot->born & ASKER;
	}
	return exchange;
}

/*
 * How many requests were answered. An answer to a plain request (TURN_PLAIN) is counted in the slot, which its packet has
 * written to anyway: the exchange is written by the CPU of whoever asks, and would have to come from there each time.
 */
static __always_inline u32 answers_to(struct exchange *exchange, struct turn_slot *slot)
{
	u32 answered = exchange->answered + slot->answers;

	return (s32)(exchange->asked - answered) < 0 ? exchange->asked : answered; /* while the other CPU adds them up */
}

static __always_inline int is_plain_answer(struct turn_slot *slot, struct said *said, u64 *words)
{
	u8 hundreds = words[1] >> 8;

	return slot->unfinished & TURN_PLAIN && said->begins_turn && slot->answers < 255 && (hundreds & 0xfe) == '2';
}

/* Whoever sends while holding the socket's lock, if a process that has it; the entry's owner otherwise. */
static __always_inline void find_speaking(struct head_room *room, struct socket_entry *entry, u64 key)
{
	struct http_head *head = &room->head;
	void *task;
	u32 pid = 0, owned = 0;

	head->owner = entry->owner;
	head->owner_certainty = entry->owner_certainty;
	if (!head->egress)
		return;
	task = (void *)bpf_get_current_task();
	READ(owned, key, OFFSET_sock_sk_lock_owned);
	if (!owned || is_kernel_thread(task))
		return;
	READ(pid, task, OFFSET_task_struct_tgid);
	if (pid != head->owner.pid && holds(task, (void *)key) == HOLDS_NOT)
		return;
	identify(&head->owner, task);
	head->owner_certainty = OWNER_EXACT;
	entry = sockets.lookup(&key); /* it may have gone to another socket meanwhile */
	if (entry && entry->seen_ns == head->seen_ns && entry->owner_certainty != OWNER_EXACT)
		own(entry, &head->owner, OWNER_EXACT);
}

static __always_inline void read_both_ends(struct http_head *head, u64 key)
{
	u16 family = 0, port = 0;

	READ(family, key, OFFSET_sock_common_skc_family);
	READ(port, key, OFFSET_inet_sock_inet_sport);
	head->local_port = HOST_ORDER(port);
	READ(port, key, OFFSET_sock_common_skc_dport);
	head->remote_port = HOST_ORDER(port);
	head->family = family;
	if (family == AF_INET) {
		READ(*(u32 *)head->local_address, key, OFFSET_sock_common_skc_rcv_saddr);
		READ(*(u32 *)head->remote_address, key, OFFSET_sock_common_skc_daddr);
	} else {
		READ(head->local_address, key, OFFSET_sock_common_skc_v6_rcv_saddr);
		READ(head->remote_address, key, OFFSET_sock_common_skc_v6_daddr);
	}
}

/* Of a packet that comes to a listener: the socket that it is for is only being made. */
static __always_inline void read_packet_ends(struct __sk_buff *skb, struct packet *packet, struct http_head *head)
{
	u16 ports[2] = {};

	bpf_skb_load_bytes(skb, packet->l4_offset, ports, sizeof(ports));
	head->remote_port = HOST_ORDER(ports[0]);
	head->local_port = HOST_ORDER(ports[1]);
	if (packet->version == 4) {
		head->family = AF_INET;
		bpf_skb_load_bytes(skb, 12, head->remote_address, 4);
		bpf_skb_load_bytes(skb, 16, head->local_address, 4);
	} else {
		head->family = AF_INET6;
		bpf_skb_load_bytes(skb, 8, head->remote_address, 16);
		bpf_skb_load_bytes(skb, 24, head->local_address, 16);
	}
}

/* spill_if_refused() for a head: the payload follows at once, without the packet's headers. */
static __always_inline void spill_head(int refused, struct __sk_buff *skb, struct http_head *record)
{
	struct spilled_head *head = 0;
	struct http_head *copy;
	u64 last = record->captured_bytes - 1;

	if (refused != -ENOSPC)
		head = spilled.ringbuf_reserve(sizeof(*head) + sizeof(*record) + CAPTURED_REQUEST_BYTES);
	if (!head) {
		count_loss(LOST_HTTP_EVENTS, 1);
		return;
	}
	copy = (void *)(head + 1);
	if (last > CAPTURED_REQUEST_BYTES - 1) /* of a hello, which then is cut */
		last = CAPTURED_REQUEST_BYTES - 1;
	head->buffer = LOST_HTTP_EVENTS;
	read_kernel(copy, sizeof(*copy), record);
	copy->payload_offset = 0;
	copy->captured_bytes = last + 1;
	asm volatile("%0 &= %1\n%0 += 1" : "+r"(last) : "r"((u64)CAPTURED_REQUEST_BYTES - 1));
	if (bpf_skb_load_bytes(skb, record->payload_offset, copy + 1, last)) {
		spilled.ringbuf_discard(head, BPF_RB_NO_WAKEUP);
		count_loss(LOST_HTTP_EVENTS, 1);
		return;
	}
	spilled.ringbuf_submit(head, BPF_RB_NO_WAKEUP);
}

/* spill_head() for frames, which are not in the packet as they are handed on. */
static __always_inline void spill_frames(int refused, struct http_head *record)
{
	if (record->captured_bytes > CAPTURED_REQUEST_BYTES)
		count_loss(LOST_HTTP_EVENTS, 1);
	else
		spill_if_refused(refused, LOST_HTTP_EVENTS, record, sizeof(*record) + CAPTURED_REQUEST_BYTES);
}

static __always_inline void submit_frames(struct __sk_buff *skb, struct http_head *head)
{
	u64 bytes = head->payload_bytes;
	int refused;

	head->captured_bytes = bytes;
	FORGET(bytes, head->time_ns);
	bytes = (bytes & (2 * FRAMES_BYTES - 1)) + sizeof(*head);
	refused = http_events.perf_submit(skb, head, bytes);
	if (refused)
		spill_frames(refused, head);
}

static __always_inline void submit_head(struct __sk_buff *skb, struct http_head *head, u32 most)
{
	int refused;

	if (head->kind == HTTP2_FRAMES) {
		submit_frames(skb, head);
		return;
	}

	head->captured_bytes = head->payload_bytes < most ? head->payload_bytes : most;
	/* on a line of its own: BCC's rewriting adds a semicolon */
	refused = http_events.perf_submit_skb(skb, head->payload_offset + head->captured_bytes, head, sizeof(*head));
	if (refused)
		spill_head(refused, skb, head);
}

/* Complete the record of a socket's head and hand it on, if its process is in scope. */
static __always_inline void list_head(struct __sk_buff *skb, u64 key, struct head_room *room)
{
	struct http_head *head = &room->head;
	struct socket_entry *entry = sockets.lookup(&key);

	if (!entry)
		return;
	head->socket = key;
	head->seen_ns = entry->seen_ns;
	head->netns = entry->netns;
	__builtin_memset(head->local_address, 0, sizeof(head->local_address));
	__builtin_memset(head->remote_address, 0, sizeof(head->remote_address));
	__builtin_memset(head->pad, 0, sizeof(head->pad));
	if (!head->prefix_bytes)
		__builtin_memset(head->prefix, 0, sizeof(head->prefix));
	if (head->kind >= HTTP_REST && head->kind < DATABASE_REQUEST)
		head->requests = 0;
	if (head->kind != HTTP2_FRAMES && head->kind < DATABASE_REQUEST)
		head->http2 = 0;
	find_speaking(room, entry, key);
#ifdef SCOPE_BY_PROCESS
	if (head->owner_certainty != OWNER_UNKNOWN && !process_in_scope(&head->owner))
		return;
#endif
	read_both_ends(head, key);
	submit_head(skb, head, room->most);
}

/* The end of a head, in whatever program. */
static __always_inline void end_head(struct __sk_buff *skb, u64 key, struct head_room *room)
{
	AS_STORED();
	if (room->most)
		list_head(skb, key, room);
	give_room_back();
}

/* Where the turns of the connection are whose head this is. */
static __always_inline struct turn_slot *slot_of(struct head_room *room)
{
	u32 index = room->turn;

	return turns.lookup(&index);
}

static __always_inline void count_unlisted(u32 requests)
{
	u32 cpu = bpf_get_smp_processor_id() & (REQUESTS_UNLISTED_CPUS - 1);

	count_loss(REQUESTS_UNLISTED + cpu * REQUESTS_UNLISTED_APART, requests);
}

/* Whether what a socket says may be handed on at all. */
static __always_inline int may_list_heads_of(u64 key)
{
#ifdef SCOPE_BY_PROCESS
	struct socket_entry *entry = sockets.lookup(&key);

	if (entry && entry->owner_certainty != OWNER_UNKNOWN && !process_in_scope(&entry->owner))
		return 0;
#endif
	return 1;
}

/* Whether a request or a handshake is handed on. The scope comes before the limit, as for DNS. */
static __always_inline int may_list_head(int kind, u64 key, u64 now_ns)
{
	u64 interval_ns = control(REQUEST_INTERVAL_NS);

	if (!may_list_heads_of(key))
		return 0;
	if (may_pass(kind, now_ns, interval_ns, interval_ns * REQUESTS_AT_ONCE))
		return 1;
	return 0;
}

/* Whether one of this kind would be handed on now; see may_pass(). */
static __always_inline u64 is_due(int kind, u64 now_ns)
{
	u64 interval_ns = control(REQUEST_INTERVAL_NS), *next = due_ns.lookup(&kind), ahead;

	if (!next)
		return 1;
	ahead = *next - now_ns - interval_ns * REQUESTS_AT_ONCE - 1;
	HIDE(ahead);
	return ahead >> 63 | (is_set(interval_ns) ^ 1);
}

/* The bits in exchange.listed of so many requests from this number on. */
static __always_inline u64 bits_of(u32 number, u32 requests)
{
	u64 bits = requests < ASKED_AT_ONCE ? (1ull << (requests & (ASKED_AT_ONCE - 1))) - 1 : ~0ull;

	number &= ASKED_AT_ONCE - 1;
	return bits << number | (number ? bits >> (ASKED_AT_ONCE - number) : 0);
}

static __always_inline void note_latency(struct exchange *exchange, u64 asked_ns, u64 answered_ns)
{
	u32 us = microseconds(passed_ns(asked_ns, answered_ns));

	if (us > exchange->slowest_us)
		exchange->slowest_us = us;
}

static __always_inline void enter_tunnel(struct exchange *exchange, struct turn_slot *slot)
{
	if (exchange->plain && slot->slowest_us > exchange->slowest_us) /* turns go on to be taken there, and are no requests */
		exchange->slowest_us = slot->slowest_us;
	slot->unfinished = TURN_TUNNEL;
}

static __always_inline void begin_http2(u64 key, struct turn_slot *slot, struct exchange *exchange, struct head_room *room);
static __always_inline void join_http2(u64 key, struct turn_slot *slot, struct head_room *room);
static __always_inline int begins_before_head(struct __sk_buff *skb, u32 at, u32 bytes, u64 *words, int asks, u32 last_stream);
static __always_inline int is_passed_over(u64 key, u32 end, int egress);
static __always_inline int begin_database(struct __sk_buff *skb, struct turn_slot *slot, u64 key, struct said *said, u32 bytes,
					  u64 *words, int egress);
static __always_inline int is_value(u64 key, struct turn_slot *slot, struct said *said, u32 end, int egress);

#define SWITCHING 0x313031 /* "101": what is 1xx otherwise comes before the answer (RFC 9110 section 15.2) */
#define STATUS_OF(words) ((u32)((words)[1] >> 8) & 0xffffff) /* three digits */

/* What an answer that is no informational one says by its status. */
static __always_inline void begin_answers(struct turn_slot *slot, struct exchange *exchange, struct head_room *room)
{
	u32 status = STATUS_OF(room->start);
	u8 hundreds = status;

	room->upgrades = hundreds == '1';
	if (hundreds == '1' || (exchange->method == METHOD_CONNECT && hundreds == '2'))
		enter_tunnel(exchange, slot);
	room->failures = (hundreds == '4') + ((u32)(hundreds == '5') << 16);
}

/* So many answers, to the requests from this number on. */
static __always_inline void note_answers(struct turn_slot *slot, struct exchange *exchange, struct head_room *room, u32 number,
					 u32 waiting, u32 answers)
{
	struct http_head *head = &room->head;

	exchange->answered = number + answers;
	slot->answers = 0;
	if (waiting <= TIMED)
		note_latency(exchange, exchange->asked_ns[number & (TIMED - 1)], head->time_ns);
	exchange->failed_4xx += room->failures & 0xffff;
	exchange->failed_5xx += room->failures >> 16;
	if (!(exchange->listed & bits_of(number, answers)))
		return;
	head->kind = HTTP_RESPONSE;
	head->number = number;
	head->requests = answers < 255 ? answers : 255;
	room->most = answers > 1 ? CAPTURED_REQUEST_BYTES : CAPTURED_ANSWER_BYTES;
}

/* The head of an answer, of which the first bytes are given. */
static __always_inline void take_answer_head(struct turn_slot *slot, struct exchange *exchange, struct head_room *room)
{
	struct http_head *head = &room->head;
	u32 number = answers_to(exchange, slot), waiting = exchange->asked - number, status;
	u8 way = 1 << head->egress, hundreds;

	if (!waiting || exchange->asker == (head->egress ? SPEAKER_LOCAL : SPEAKER_REMOTE))
		return;
	if (exchange->heads_known & way && (s32)(head->seq - exchange->heads[head->egress & 1]) <= 0)
		return;
	status = STATUS_OF(room->start);
	hundreds = status;
	if (hundreds < '1' || hundreds > '5')
		return;
	exchange->heads[head->egress & 1] = head->seq;
	exchange->heads_known |= way;
	exchange->certain = 1;
	if ((hundreds == '1' && status != SWITCHING) || waiting > 1) {
		room->goes_on = GOES_ON_ANSWERS;
		return;
	}
	begin_answers(slot, exchange, room);
	note_answers(slot, exchange, room, number, waiting, 1);
}

/* What goes on in the direction of this segment, from its beginning on; 0: there is no room. */
static __always_inline struct unfinished *make_unfinished(u64 key, struct turn_slot *slot, struct head_room *room)
{
	struct unfinished *fresh;
	int only = 0;

	room->place = key | room->head.egress;
	fresh = nothing_unfinished.lookup(&only);
	if (!fresh || unfinished_heads.update(&room->place, fresh))
		return 0;
	fresh = unfinished_heads.lookup(&room->place);
	if (!fresh)
		return 0;
	fresh->born = slot->born;
	return fresh;
}

/* The rest of a hello is handed on as it comes, so that there are as many bytes at most. */
static __always_inline void await_hello(u64 key, struct turn_slot *slot, struct head_room *room, u32 most)
{
	struct http_head *head = &room->head;
	struct unfinished *fresh;

	if (head->prefix_bytes + head->payload_bytes >= most)
		return;
	fresh = make_unfinished(key, slot, room);
	if (!fresh)
		return;
	fresh->next = head->seq + head->prefix_bytes + head->payload_bytes;
	fresh->number = head->number;
	fresh->room = most - head->payload_bytes;
	fresh->kind = TLS_REST;
	slot->unfinished |= 1 << head->egress;
}

/*
 * A segment that goes on where an unfinished head ended. Returns what is known of it if that is still to be told from its
 * first bytes, which then are complete.
 */
static __always_inline struct unfinished *go_on(struct __sk_buff *skb, u64 key, struct turn_slot *slot, struct head_room *room)
{
	struct http_head *head = &room->head;
	u64 last = head->payload_bytes - 1;
	struct unfinished *known;
	u32 most, further;

	room->place = key | head->egress;
	room->within = 0;
	known = unfinished_heads.lookup(&room->place);

	if (known && known->kind == HTTP_CHUNKS && known->born == slot->born && (s32)(head->seq - known->next) <= 0) {
		room->goes_on = GOES_ON_CHUNKS;
		return 0;
	}
	if (known && (known->kind == HTTP_INTERIM || known->kind == HTTP_ANSWERS) && known->born == slot->born) {
		room->goes_on = GOES_ON_ANSWERS;
		return 0;
	}
	if (known && known->kind == HTTP_BODY && known->born == slot->born) {
		further = known->next - head->seq;
		room->within = further && !(further >> 31);
		if (room->within && further > head->payload_bytes)
			return 0;
		slot->unfinished &= ~(1 << head->egress);
		if (room->within && further < head->payload_bytes) {
			room->walk.at = further;
			room->goes_on = GOES_ON_REQUEST;
		}
		return 0;
	}
	if (!known || known->born != slot->born || known->next != head->seq) {
		if (!known || (s32)(head->seq - known->next) > 0) /* what lies between was missed */
			slot->unfinished &= ~(1 << head->egress);
		return 0;
	}
	if (known->bytes) {
		if (last > HEAD_BYTES - 1)
			last = HEAD_BYTES - 1;
		HIDE(last);
		if (bpf_skb_load_bytes(skb, head->payload_offset, (u8 *)known->text + (known->bytes & (HEAD_BYTES - 1)),
				       (last & (HEAD_BYTES - 1)) + 1))
			return 0;
		return known;
	}
	if (known->kind == HTTP_REST) {
		room->goes_on = GOES_ON_HEAD;
		return 0;
	}
	head->kind = known->kind;
	head->number = known->number;
	most = known->room;
	room->most = most & CAPTURED_MASK;
	if (head->payload_bytes < most) { /* of small segments it takes several */
		known->next = head->seq + head->payload_bytes;
		known->room = most - head->payload_bytes;
	} else {
		slot->unfinished &= ~(1 << head->egress);
	}
	return 0;
}

/* Too little to tell what it is: how a method or an answer may begin. */
static __always_inline void keep_beginning(u64 key, struct turn_slot *slot, struct head_room *room, struct unfinished *known)
{
	struct http_head *head = &room->head;

	if (!known) {
		known = make_unfinished(key, slot, room);
		if (!known)
			return;
		known->begin = head->seq;
		known->text[0] = room->start[0];
		known->text[1] = room->start[1];
	}
	known->bytes = head->prefix_bytes + head->payload_bytes;
	known->next = known->begin + known->bytes;
	slot->unfinished |= 1 << head->egress;
}

static __always_inline int has_line_end(u64 *words)
{
	return (equal_bytes(words[0], '\n') | equal_bytes(words[1], '\n')) != 0;
}

/* Whether so few bytes may go on to be a head. What a server sends in a segment of its own may be all of a body: "OK". */
static __always_inline int may_begin(struct turn_slot *slot, u64 *words, u32 bytes, int egress)
{
	u64 others = (words[0] ^ HTTP_1_) & FIRST_SEVEN;

	if (bytes >= HEAD_BYTES || has_line_end(words) || !IS_CAPITAL((u8)words[0]))
		return 0;
	if ((slot->born & ASKER) != (egress ? SPEAKER_REMOTE : SPEAKER_LOCAL))
		return 1;
	return bytes > 7 ? !others : !(others << (64 - 8 * bytes));
}

/* Whether the body that goes on ends in this segment, or where it begins: its sequence numbers tell, whatever else has come. */
static __always_inline int ends_known_body(struct turn_slot *slot, u64 key, struct http_head *head)
{
	struct unfinished *known;

	if (!(slot->unfinished & (1 << head->egress)))
		return 0;
	key |= head->egress;
	known = unfinished_heads.lookup(&key);
	return known && known->kind == HTTP_BODY && known->born == slot->born && known->next - head->seq < head->payload_bytes;
}

static __always_inline void look_at_head(struct __sk_buff *skb, struct turn_slot *slot, u64 key, struct head_room *room,
					 int egress)
{
	struct http_head *head = &room->head;
	struct unfinished *known = 0;
	struct exchange *exchange;
	int is_answer;
	u32 bytes;

	if (room->behind_gap && !ends_known_body(slot, key, head))
		return; /* a body may begin like a head; what goes on is not here */
	if (slot->unfinished & (1 << egress)) {
		known = go_on(skb, key, slot, room);
		bytes = known ? known->bytes + head->payload_bytes : 0;
		if (known && (known->text[0] & FIRST_SEVEN) != HTTP_1_ && !begins_request(known->text) &&
		    !may_begin(slot, known->text, bytes, egress)) { /* it was none, and the next one may begin here */
			slot->unfinished &= ~(1 << egress);
			known = 0;
		}
		if (known) {
			head->prefix_bytes = known->bytes & (HEAD_BYTES - 1);
			room->start[0] = known->text[0];
			room->start[1] = known->text[1];
			head->seq = known->begin;
			__builtin_memcpy(head->prefix, known->text, HEAD_BYTES);
		}
		if (room->most || room->goes_on || room->within)
			return;
	}
	is_answer = (room->start[0] & FIRST_SEVEN) == HTTP_1_;
	bytes = head->prefix_bytes + head->payload_bytes;
	if (is_answer ? bytes < ANSWER_BYTES : !begins_request(room->start)) {
		if (may_begin(slot, room->start, bytes, egress))
			keep_beginning(key, slot, room, known);
		else if (known)
			slot->unfinished &= ~(1 << egress);
		return;
	}
	if (known)
		slot->unfinished &= ~(1 << egress);
	AS_STORED();
	exchange = exchange_at(slot, key);
	if (!exchange)
		return;
	if (is_answer)
		take_answer_head(slot, exchange, room);
	else if (room->start[0] == PREFACE_1 && room->start[1] == PREFACE_2)
		begin_http2(key, slot, exchange, room);
	else
		room->goes_on = GOES_ON_REQUEST;
}

/*
 * What message of TLS a segment begins with: a record of a handshake (RFC 8446 section 5.1) with the beginning of a hello of
 * less than 64 KB, or an alert that is not encrypted. 0: none of these.
 */
static __always_inline u8 tls_kind(u64 *words)
{
	u64 first = words[0];
	u8 message = first >> 40;

	if ((u8)(first >> 8) != 3 || (u8)(first >> 16) > 4)
		return 0;
	if ((u8)first == 0x15)
		return (u16)(first >> 24) == 0x0200 ? TLS_ALERT : 0; /* those that are encrypted are longer than two bytes */
	if ((u8)first != 0x16 || (u8)(first >> 48) || (u8)(words[1] >> 8) != 3)
		return 0;
	return message == 1 ? TLS_CLIENT_HELLO : message == 2 ? TLS_SERVER_HELLO : 0;
}

/* A message of a handshake. Each is in the clear; what follows the server's hello is not, from TLS 1.3 on. */
static __always_inline void take_handshake(u64 key, struct turn_slot *slot, struct head_room *room)
{
	struct http_head *head = &room->head;
	u32 record = 5 + HOST_ORDER(room->start[0] >> 24), most = CAPTURED_HELLO_BYTES;
	u8 handed_on = slot->unfinished / TURN_HELLO;

	if (handed_on >= MOST_HELLOS || (!handed_on && head->kind == TLS_ALERT))
		return;
	if (!handed_on && !may_list_head(DUE_HANDSHAKES, key, head->time_ns)) {
		if (head->kind == TLS_CLIENT_HELLO)
			count_loss(HANDSHAKES_LEFT_OUT, 1);
		return;
	}
	slot->unfinished += TURN_HELLO;
	head->number = handed_on;
	room->most = head->kind == TLS_CLIENT_HELLO ? CAPTURED_HELLO_BYTES : CAPTURED_ANSWER_BYTES;
	if (head->kind != TLS_CLIENT_HELLO)
		return;
	if (record < most)
		most = record;
	await_hello(key, slot, room, most);
}

/* The first bytes of a segment that has fewer than HEAD_BYTES. */
static __always_inline int read_short(struct __sk_buff *skb, u32 payload_at, u32 bytes, u64 *words)
{
	u64 last = bytes - 1;

	HIDE(last);
	words[0] = words[1] = 0;
	return bpf_skb_load_bytes(skb, payload_at, words, (last & (HEAD_BYTES - 1)) + 1);
}

static __always_inline int read_words(struct __sk_buff *skb, u32 payload_at, u32 bytes, u64 *words)
{
	return bytes >= HEAD_BYTES ? bpf_skb_load_bytes(skb, payload_at, words, HEAD_BYTES)
				   : read_short(skb, payload_at, bytes, words);
}

/* Whether a segment may be the first of HTTP/2 that is seen of a connection older than nettop. */
static __always_inline int may_join(struct __sk_buff *skb, struct turn_slot *slot, u32 payload_at, u32 bytes, u64 *words, int egress)
{
	return slot->place & TURN_ASKER_GUESSED && (slot->born & ASKER) == (egress ? SPEAKER_LOCAL : SPEAKER_REMOTE) &&
	       begins_before_head(skb, payload_at, bytes, words, 1, 0);
}

/* Whether a field in room->words may tell of a body. */
static __always_inline int may_tell_of_body(struct head_room *room)
{
	u64 found = 0;
	u32 number, used = (room->head.payload_bytes + 7) >> 3;

#pragma clang loop unroll(disable)
	for (number = 0; number < SCANNED_WORDS - 1; number++) {
		HIDE(number);
		if (number >= used)
			break;
		found |= body_bytes((u8 *)&room->words[number & (SCANNED_WORDS - 1)]);
	}
	return found != 0;
}

/* Whether a segment, which is looked at as a whole, is one request without a body; its ends are looked for in room->words. */
static __always_inline int is_one_plain_request(struct __sk_buff *skb, struct head_room *room)
{
	u64 last = room->head.payload_bytes;

	room->end = room->ends = room->fields = 0;
	scan_part(skb, room, 0, 0);
	AS_STORED();
	return room->ends == 1 && room->end == last && (room->words[0] & FIRST_FIVE) == GET_PATH &&
	       (!room->fields || !may_tell_of_body(room));
}

/*
 * A request behind a plain one, by the quickest way there is: in a flood nearly all are such. Returns 0 where it is another, or
 * one that is to be handed on, and then nothing has changed.
 */
static __always_inline int take_plain_request(struct __sk_buff *skb, struct turn_slot *slot, u64 key, struct said *said, u32 bytes,
					      int egress)
{
	struct exchange *exchange = exchange_at(slot, key);
	struct head_room *room;
	u32 number;
	int is_plain;

	if (!exchange || !said->begins_turn || bytes < HEAD_BYTES || bytes > SCAN_STEP || is_due(DUE_REQUESTS, slot->spoke_ns))
		return 0;
	number = exchange->asked;
	if (number != answers_to(exchange, slot) || !exchange->certain ||
	    (exchange->heads_known & (1 << egress) && (s32)(said->begin - exchange->heads[egress]) <= 0))
		return 0;
	room = take_room();
	if (!room)
		return 0;
	room->head.payload_offset = said->payload_at;
	room->head.payload_bytes = bytes;
	is_plain = is_one_plain_request(skb, room);
	give_room_back();
	if (!is_plain)
		return 0;
	exchange->heads[egress] = said->begin + bytes - 1;
	exchange->heads[!egress] = slot->ends[!egress] - 1;
	exchange->heads_known = 3 | HEADS_ENDED;
	exchange->method = METHOD_BARE;
	exchange->asked_ns[number & (TIMED - 1)] = slot->spoke_ns;
	exchange->listed &= ~bits_of(number, 1);
	exchange->asked = number + 1;
	count_unlisted(1);
	return 1;
}

/*
 * Payload of a connection; slot->spoke_ns is when it came or went. Nearly all of what is no head, or plain, or within a frame,
 * ends here.
 */
static __always_inline void take_head_of(struct __sk_buff *skb, struct turn_slot *slot, struct said *said, int egress)
{
	u32 bytes = skb->len - said->payload_at;
	u64 words[HEAD_BYTES / 8] = {};
	struct head_room *room;
	u64 key = (u64)packet_socket(skb);
	u8 kind = 0, joins = 0, database = 0, goes_on = 0;

	if (slot->unfinished & TURN_DATABASE) {
		database = (slot->unfinished & TURN_DATABASE) == TURN_DATABASE;
		if (database ? is_value(key, slot, said, said->begin + bytes, egress)
			     : slot->unfinished & TURN_TUNNEL || is_passed_over(key, said->begin + bytes, egress))
			return;
		if (database && read_words(skb, said->payload_at, bytes, words))
			return;
	} else {
		if (slot->unfinished & TURN_PLAIN && (slot->born & ASKER) == (egress ? SPEAKER_LOCAL : SPEAKER_REMOTE)) {
			if (take_plain_request(skb, slot, key, said, bytes, egress))
				return;
			slot->unfinished &= ~TURN_PLAIN;
		}
		if (read_words(skb, said->payload_at, bytes, words))
			return;
		if (!(slot->unfinished & (1 << egress))) {
			if ((u8)words[0] - 0x15u < 2) {
				kind = tls_kind(words);
				database = !kind;
			} else if ((u16)words[0] == EMPTY_LINE && bytes > HEAD_BYTES + 2 &&
				   (slot->born & ASKER) != (egress ? SPEAKER_REMOTE : SPEAKER_LOCAL)) {
				goes_on = GOES_ON_EMPTY;
			} else if (!IS_CAPITAL((u8)words[0]) || (bytes > 1 && !(u8)(words[0] >> 8))) {
				joins = !(u8)words[0] && may_join(skb, slot, said->payload_at, bytes, words, egress);
				database = !joins;
			}
			if (database && !(said->begins_turn && begin_database(skb, slot, key, said, bytes, words, egress)))
				return;
			if ((words[0] & FIRST_SEVEN) == HTTP_1_ && is_plain_answer(slot, said, words)) {
				slot->answers++;
				return;
			}
		}
	}
	room = take_room();
	if (!room)
		return;
	/* the rest is for those that are handed on: see list_head() */
	room->head.kind = kind;
	room->head.prefix_bytes = room->most = room->upgrades = room->walk.runs = room->walk.at = room->tail = 0;
	room->goes_on = goes_on;
	room->head.time_ns = slot->spoke_ns;
	room->head.seq = room->walk.begin = said->begin;
	room->head.payload_offset = room->walk.payload_offset = said->payload_at;
	room->head.payload_bytes = room->walk.bytes = bytes;
	room->head.egress = egress;
	room->begins_turn = said->begins_turn;
	room->behind_gap = said->behind_gap;
	room->start[0] = words[0];
	room->start[1] = words[1];
	room->turn = turn_index(key) ^ (slot->place & (TURN_PLACES - 1));
	if (database)
		continuations.call(skb, DATABASES);
	else if (kind)
		take_handshake(key, slot, room);
	else if (joins)
		join_http2(key, slot, room);
	else if (!goes_on && !(slot->unfinished & TURN_HTTP2))
		look_at_head(skb, slot, key, room, egress);
	AS_STORED();
	if (room->goes_on)
		continuations.call(skb, REQUESTS_ASKED);
	AS_STORED();
	if (!database && (room->upgrades || slot->unfinished & TURN_HTTP2)) { /* from before, or from now on */
		room->walk.in_scope = may_list_heads_of(key); /* here, or the verifier would follow the walk for each answer */
		continuations.call(skb, FRAMES);
	}
	end_head(skb, key, room);
}

/*
 * Payload that comes to a listener: with the acknowledgement that completes a handshake (TCP_DEFER_ACCEPT), and then the
 * socket is made right after this, on this CPU, and claim_first_request() gives it the request; or with the SYN (Fast Open),
 * and then claim_fast_open() does.
 */
static __always_inline void take_first_request(struct __sk_buff *skb, struct packet *packet, struct first_words *first,
					       u32 payload_at)
{
	struct head_room *room;
	struct http_head *head;
	u64 words[2] = {}, listener;
	u32 netns, bytes = skb->len - payload_at, most_early = 0;
	u8 state = 0, hello;

	if (bytes < HEAD_BYTES || bpf_skb_load_bytes(skb, payload_at, words, HEAD_BYTES))
		return;
	hello = tls_kind(words) == TLS_CLIENT_HELLO;
	if (hello ? first->with_syn : !begins_request(words))
		return;
	listener = (u64)packet_socket(skb);
	READ(state, listener, OFFSET_sock_common_skc_state);
	if (state != TCP_LISTEN && state != TCP_NEW_SYN_RECV)
		return;
	netns = netns_of((void *)listener, UNTYPED);
	if (!netns_in_scope(netns))
		return;
	if (first->with_syn) {
		READ(most_early, listener, OFFSET_inet_connection_sock_icsk_accept_queue_fastopenq_max_qlen);
		if (!most_early)
			return;
	}
	room = take_room_for(first->time_ns, netns, payload_at, bytes);
	if (!room)
		return;
	head = &room->head;
	head->seq = first->begin;
	read_packet_ends(skb, packet, head);
	if (hello) {
		head->kind = TLS_CLIENT_HELLO;
		first->hello = may_list_head(DUE_HANDSHAKES, listener, first->time_ns);
		if (first->hello)
			submit_head(skb, head, CAPTURED_HELLO_BYTES);
		give_room_back();
		return;
	}
	room->start[0] = words[0];
	room->goes_on = GOES_ON_FIRST;
	continuations.call(skb, REQUESTS_ASKED);
	give_room_back();
}

static __always_inline void take_head(struct __sk_buff *skb, struct packet *packet, struct said *said, int egress)
{
	if (said->slot)
		take_head_of(skb, said->slot, said, egress);
	else if (!egress && said->first)
		take_first_request(skb, packet, said->first, said->payload_at);
}

static __always_inline void claim_first_request(struct turn_slot *slot, u64 socket, struct first_words *first)
{
	struct exchange *exchange;

	if (first->hello)
		slot->unfinished |= TURN_HELLO;
	if (!first->requests)
		return;
	exchange = exchange_at(slot, socket);
	if (!exchange)
		return;
	exchange->asked = first->requests;
	exchange->asked_ns[0] = exchange->asked_ns[1] = first->time_ns;
	exchange->listed = first->listed ? bits_of(0, first->requests) : 0;
	exchange->method = first->method;
	exchange->certain = first->method != METHOD_UNUSUAL;
	exchange->heads[0] = first->begin;
	exchange->heads_known = 1;
}

/* A connection that had received payload when its handshake was complete: whether it has answered, but not what. */
static __always_inline void claim_fast_open(struct turn_slot *slot, u64 socket)
{
	struct exchange *exchange = exchange_at(slot, socket);
	struct early_key key = {};
	struct early_request *early;
	u64 sent = 0;
	u16 family = 0, port = 0;

	if (!exchange)
		return;
	exchange->asker = SPEAKER_REMOTE;
	key.netns = netns_of((void *)socket, UNTYPED);
	READ(family, socket, OFFSET_sock_common_skc_family);
	READ(port, socket, OFFSET_inet_sock_inet_sport);
	key.local_port = HOST_ORDER(port);
	READ(port, socket, OFFSET_sock_common_skc_dport);
	key.remote_port = HOST_ORDER(port);
	if (family == AF_INET)
		READ(key.remote, socket, OFFSET_sock_common_skc_daddr);
	else
		READ(key.remote, socket, OFFSET_sock_common_skc_v6_daddr + 12);
	early = early_requests.lookup(&key);
	if (!early)
		return;
	READ(sent, socket, OFFSET_tcp_sock_bytes_sent);
	exchange->asked = early->requests;
	exchange->answered = sent ? early->requests : 0;
	exchange->asked_ns[0] = exchange->asked_ns[1] = early->time_ns;
	exchange->listed = early->listed ? bits_of(0, early->requests) : 0;
	exchange->method = early->method;
	exchange->certain = early->method != METHOD_UNUSUAL;
	exchange->heads[0] = early->begin;
	exchange->heads_known = 1;
	early_requests.delete(&key);
}

/* What is known of the requests of a connection, if they are those of HTTP. */
static __always_inline void read_requests(struct socket_record *record, struct turn_slot *slot)
{
	u32 index = turn_index(record->socket) ^ (slot->place & (TURN_PLACES - 1));
	struct exchange *exchange = exchanges.lookup(&index);
	u32 waiting;

	if (!exchange || exchange->born != slot->born || !exchange->certain)
		return;
	record->requests = exchange->asked;
	record->responses = answers_to(exchange, slot);
	record->failed_4xx = exchange->failed_4xx;
	record->failed_5xx = exchange->failed_5xx;
	record->slowest_request_us = exchange->slowest_us;
	if (exchange->plain && !(slot->unfinished & (TURN_TUNNEL | TURN_HTTP2)) && slot->slowest_us > exchange->slowest_us)
		record->slowest_request_us = slot->slowest_us;
	record->requester = exchange->asker;
	waiting = record->requests - record->responses;
	record->request_waits = waiting && (exchange->database ? exchange->database & DATABASE_FOLLOWED
						: exchange->listed & bits_of(record->responses, waiting));
	record->http2 = exchange->http2;
	record->database = exchange->database;
	if (exchange->http2)
		record->requests_unlisted = exchange->http2_unlisted;
}

#endif
