/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Answers of HTTP/1 that share a segment: several to requests that wait at once, and one behind informational ones. bodies.c calls
 * this for such segments only.
 */
#ifdef REQUESTS

#define TAIL_BYTES 3 /* of a segment, of the end of a head, at most */
#define STEPS_WALKED (SCANS * SCAN_STEP / 8) /* of eight bytes, to where heads end: as far as those are looked at that are scanned */

/* Where lines end that an empty one follows, by top bits; `bare` has those where it has no carriage return. */
static __always_inline u64 head_ends(u64 word, u64 next, u64 *bare)
{
	u64 ends = equal_bytes(word, '\n'), next_ends = equal_bytes(next, '\n');

	*bare = ends & (ends >> 8 | next_ends << 56);
	return *bare | (ends & (ends >> 16 | next_ends << 48) & (equal_bytes(word, '\r') >> 8 | equal_bytes(next, '\r') << 56));
}

/* 1 if these do not begin an informational answer. */
static __always_inline u64 is_no_interim(u64 *words)
{
	u64 status = STATUS_OF(words);

	return is_set((words[0] & FIRST_SEVEN) ^ HTTP_1_) | is_set((status & 0xff) ^ '1') | (is_set(status ^ SWITCHING) ^ 1);
}

/* Look at eight bytes of heads at walk->at. Returns whether there may be more. */
static __always_inline int walk_head(struct __sk_buff *skb, struct head_room *room)
{
	struct frame_walk *walk = &room->walk;
	u64 last, ends, bare, found, place;

	if (walk->at >= walk->bytes)
		return 0;
	last = walk->bytes - walk->at - 1;
	if (last > HEAD_BYTES - 1)
		last = HEAD_BYTES - 1;
	FORGET(last, room->head.time_ns);
	walk->header[0] = walk->header[1] = 0;
	if (bpf_skb_load_bytes(skb, walk->payload_offset + walk->at, walk->header, (last & (HEAD_BYTES - 1)) + 1))
		return 0;
	AS_STORED();
	if (walk->ended & is_no_interim(walk->header))
		return 0;
	ends = head_ends(walk->header[0], walk->header[1], &bare);
	found = is_set(ends);
	ends &= -ends;
	place = (ends >> 7) * 0x0001020304050607ull >> 56;
	place += 3 - is_set(ends & bare);
	walk->at += 8 ^ ((8 ^ place) & -found);
	walk->ended = found;
	AS_STORED();
	return 1;
}

/* Walk heads from walk->at on, where one begins, if walk->ended, or goes on. */
static __always_inline void walk_heads(struct __sk_buff *skb, struct head_room *room)
{
	u32 number;

#pragma clang loop unroll(disable)
	for (number = 0; number < STEPS_WALKED; number++) {
		HIDE(number);
		room->walk.more = walk_head(skb, room);
		AS_STORED();
		if (!room->walk.more)
			break;
	}
	AS_STORED();
}

/*
 * Count final answers in a part of a segment by "P/1.", and the digit that is three bytes behind it. What was found at the end
 * of a word or of a part goes on in the next.
 */
static __always_inline void count_part(struct __sk_buff *skb, struct head_room *room, u32 from)
{
	u64 *words = room->words, word, letter, slash, one, point, status, high, odd;
	u64 letters = room->found[0], slashes = room->found[1], ones = room->found[2], points = room->found[3];
	u32 number, used = read_part(skb, room, from), answers = 0, failures = 0;

#pragma clang loop unroll(disable)
	for (number = 0; number < SCANNED_WORDS - 1; number++) {
		HIDE(number);
		if (number >= used)
			break;
		word = words[number & (SCANNED_WORDS - 1)];
		letter = equal_bytes(word, 'P');
		slash = equal_bytes(word, '/') & (letter << 8 | letters);
		one = equal_bytes(word, '1') & (slash << 8 | slashes);
		point = equal_bytes(word, '.') & (one << 8 | ones);
		status = point << 24 | points;
		letters = letter >> 56;
		slashes = slash >> 56;
		ones = one >> 56;
		points = point >> 40;
		odd = word << 7;
		word &= ~EACH(1ull);
		high = equal_bytes(word, '4') & status;
		answers += is_set(high | (equal_bytes(word, '2') & status)); /* 2xx to 5xx */
		failures += is_set(high & ~odd) + (is_set(high & odd) << 16);
	}
	room->found[0] = letters;
	room->found[1] = slashes;
	room->found[2] = ones;
	room->found[3] = points;
	room->ends += answers;
	room->failures += failures;
}

/* How many of the answers that are waited for begin in a segment, of which the first does. */
static __always_inline u32 count_answers(struct __sk_buff *skb, struct head_room *room)
{
	u32 bytes = room->head.payload_bytes, part, waiting;

	room->ends = room->failures = 0;
	room->found[0] = room->found[1] = room->found[2] = room->found[3] = 0;
#pragma clang loop unroll(full)
	for (part = 0; part < ANSWER_SCANS; part++)
		if (part * SCAN_STEP < bytes)
			count_part(skb, room, part * SCAN_STEP);
	waiting = room->waiting;
	/* those behind what is looked at are not to be taken for answers to later requests */
	if (!room->ends || bytes > ANSWER_SCANS * SCAN_STEP || room->ends > waiting)
		return room->ends ? waiting : 1;
	return room->ends;
}

/* Of a head that goes on: where it does. */
static __always_inline void await_interim(struct __sk_buff *skb, u64 key, struct turn_slot *slot, struct head_room *room)
{
	struct unfinished *fresh = make_unfinished(key, slot, room);

	if (!fresh)
		return;
	fresh->next = room->walk.begin + room->walk.bytes;
	fresh->kind = HTTP_INTERIM;
	/* what may be part of its end */
	bpf_skb_load_bytes(skb, room->walk.payload_offset + room->walk.bytes - TAIL_BYTES, fresh->text, TAIL_BYTES);
	slot->unfinished |= 1 << room->head.egress;
}

/* Where the head ends that went on until this segment began, if its end is not all in here. */
static __always_inline void end_interim(struct head_room *room)
{
	struct unfinished *known = unfinished_heads.lookup(&room->place);
	u64 *start = room->start, ends, bare;

	if (!known)
		return;
	ends = head_ends((known->text[0] & 0xffffff) | start[0] << 24, start[0] >> 40 | start[1] << 24, &bare) & 0x808080;
	ends &= -ends;
	room->walk.ended = is_set(ends);
	room->walk.at = ((ends >> 7) * 0x0001020304050607ull >> 56) - is_set(ends & bare);
}

/* A segment that begins with an informational answer or within one, or with one of several answers. */
static __always_inline void begin_walk_of_answers(struct turn_slot *slot, struct head_room *room)
{
	u8 goes_on = slot->unfinished & (1 << room->head.egress);

	room->walk.at = 0;
	room->walk.ended = !room->head.prefix_bytes && !goes_on;
	if (goes_on)
		end_interim(room);
	slot->unfinished &= ~(1 << room->head.egress);
}

/* What follows the informational answers, whose end is at walk->at. */
static __always_inline void take_answers(struct __sk_buff *skb, u64 key, struct turn_slot *slot, struct exchange *exchange,
					 struct head_room *room)
{
	struct frame_walk *walk = &room->walk;
	struct http_head *head = &room->head;
	u32 number = answers_to(exchange, slot), waiting = exchange->asked - number, answers = 1, at = walk->at;
	u8 hundreds;

	if (!waiting)
		return;
	if (at >= walk->bytes) {
		if (!walk->ended)
			await_interim(skb, key, slot, room);
		return;
	}
	room->start[0] = walk->header[0];
	room->start[1] = walk->header[1];
	hundreds = STATUS_OF(walk->header);
	if (!walk->ended || walk->bytes - at < ANSWER_BYTES || (walk->header[0] & FIRST_SEVEN) != HTTP_1_ || hundreds > '5') {
		exchange->answered = exchange->asked; /* nobody knows by what: not by what comes next */
		slot->answers = 0;
		return;
	}
	head->seq = walk->begin += at;
	head->payload_offset = walk->payload_offset += at;
	head->payload_bytes = walk->bytes -= at;
	head->prefix_bytes = 0;
	exchange->heads[head->egress & 1] = head->seq;
	begin_answers(slot, exchange, room);
	if (waiting > 1) {
		room->number = number;
		room->waiting = waiting;
		AS_STORED();
		answers = count_answers(skb, room);
		AS_STORED();
		number = room->number;
		waiting = room->waiting;
	}
	note_answers(slot, exchange, room, number, waiting, answers);
}

#endif
