/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Answers of HTTP/1 of which the next one may begin anywhere: informational ones, and those to several requests that wait at
 * once. Where the next one begins is told by the length of the body, or of its chunks. The program `requests`, of which this is a
 * part, runs again for each in a segment. Where that is not known, what waits is answered by what is unknown.
 */
#ifdef REQUESTS

#define TAIL_BYTES 3 /* of a segment, of the end of a head, at most */

/* Where lines end that an empty one follows, by top bits; `bare` has those where it has no carriage return. */
static __always_inline u64 head_ends(u64 word, u64 next, u64 *bare)
{
	u64 ends = equal_bytes(word, '\n'), next_ends = equal_bytes(next, '\n');

	*bare = ends & (ends >> 8 | next_ends << 56);
	return *bare | (ends & (ends >> 16 | next_ends << 48) & (equal_bytes(word, '\r') >> 8 | equal_bytes(next, '\r') << 56));
}

static __always_inline int begins_answer(u64 *words)
{
	return (words[0] & FIRST_SEVEN) == HTTP_1_;
}

/* Nobody knows any more which answer is whose. */
static __always_inline void lose_answers(struct turn_slot *slot, struct exchange *exchange)
{
	exchange->answered = exchange->asked;
	slot->answers = 0;
}

/* Go on so many bytes further. Returns whether an answer begins there. */
static __always_inline int begin_next(struct __sk_buff *skb, struct exchange *exchange, struct head_room *room, u32 further)
{
	struct frame_walk *walk = &room->walk;
	struct http_head *head = &room->head;

	head->seq = walk->begin += further;
	head->payload_offset = walk->payload_offset += further;
	head->payload_bytes = walk->bytes -= further;
	head->prefix_bytes = 0;
	exchange->heads[head->egress & 1] = head->seq;
	return walk->bytes >= ANSWER_BYTES && !bpf_skb_load_bytes(skb, walk->payload_offset, room->start, ANSWER_BYTES) &&
	       begins_answer(room->start);
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
	fresh->text[1] = room->start[1];
	slot->unfinished |= 1 << room->head.egress;
}

/* The end of a head that went on until this segment began, if that is not all in here. */
static __always_inline void end_interim(struct head_room *room, struct unfinished *known)
{
	u64 *start = room->start, ends, bare;

	ends = head_ends((known->text[0] & 0xffffff) | start[0] << 24, start[0] >> 40 | start[1] << 24, &bare) & 0x808080;
	ends &= -ends;
	room->walk.ended = is_set(ends);
	room->walk.at = ((ends >> 7) * 0x0001020304050607ull >> 56) - is_set(ends & bare);
	start[1] = known->text[1];
}

/* Find the answer that a segment has. Returns whether there is one. */
static __always_inline int begin_answer(struct __sk_buff *skb, struct turn_slot *slot, struct exchange *exchange,
					struct head_room *room)
{
	struct http_head *head = &room->head;
	struct unfinished *known;
	u32 further;

	room->stops = 1;
	room->walk.ended = 0;
	if (!(slot->unfinished & (1 << head->egress))) {
		if (!room->walk.at || begin_next(skb, exchange, room, room->walk.at))
			return 1;
		lose_answers(slot, exchange);
		return 0;
	}
	known = unfinished_heads.lookup(&room->place);
	if (!known)
		return 0;
	further = known->next - head->seq;
	if (known->kind == HTTP_INTERIM && !further) {
		end_interim(room, known);
	} else if (further && head->seq == known->begin && begins_answer(room->start)) {
		if (!exchange->without_bodies) /* the body, or the answer to a HEAD, which has a length but no body */
			lose_answers(slot, exchange);
	} else if (!(further >> 31) && further >= head->payload_bytes) {
		return 0;
	} else if (further >> 31 || !begin_next(skb, exchange, room, further)) {
		lose_answers(slot, exchange);
	}
	slot->unfinished &= ~(1 << head->egress);
	return exchange->asked != exchange->answered;
}

/* Behind this answer the next one begins so many bytes further, in this segment or in a later one. */
static __always_inline void await_answer(u64 key, struct turn_slot *slot, struct head_room *room)
{
	struct unfinished *fresh;
	u32 begin = room->walk.begin + room->end, next = room->walk.at;

	if (next < room->walk.bytes) {
		room->goes_on = GOES_ON_ANSWERS; /* once this one is handed on */
		return;
	}
	if (next == room->walk.bytes)
		return;
	fresh = make_unfinished(key, slot, room);
	if (!fresh)
		return;
	fresh->begin = begin;
	fresh->next = room->walk.begin + next;
	fresh->kind = HTTP_ANSWERS;
	slot->unfinished |= 1 << room->head.egress;
}

static __always_inline int is_answer_at(struct __sk_buff *skb, struct head_room *room, u32 at)
{
	return at + ANSWER_BYTES <= room->walk.bytes &&
	       !bpf_skb_load_bytes(skb, room->walk.payload_offset + at, room->behind, ANSWER_BYTES) && begins_answer(room->behind);
}

/* An answer that is looked through. */
static __always_inline void take_one_answer(struct __sk_buff *skb, u64 key, struct turn_slot *slot, struct exchange *exchange,
					    struct head_room *room)
{
	u32 number = answers_to(exchange, slot), waiting = exchange->asked - number, status = STATUS_OF(room->start);
	u8 hundreds = status;
	int follows;

	room->goes_on = 0;
	if (!waiting)
		return;
	if (room->walk.ended)
		room->end = room->walk.at;
	room->walk.at = room->end;
	if (hundreds == '1' && status != SWITCHING) {
		if (room->end)
			await_answer(key, slot, room);
		else if (room->walk.bytes <= SCANS * SCAN_STEP)
			await_interim(skb, key, slot, room);
		else
			lose_answers(slot, exchange);
		return;
	}
	begin_answers(slot, exchange, room);
	note_answers(slot, exchange, room, number, waiting, 1);
	if (waiting == 1 || slot->unfinished & TURN_TUNNEL)
		return;
	if (status == 0x343032 || status == 0x343033) { /* "204" and "304" have no body */
		await_answer(key, slot, room);
		return;
	}
	follows = is_answer_at(skb, room, room->end);
	AS_STORED();
	if (!room->end || room->body & BODY_UNKNOWN) {
		lose_answers(slot, exchange);
	} else if (room->body & BODY_CHUNKED && !follows) { /* no chunk begins like an answer; one to a HEAD has none */
		pass_over_chunks(key, slot, room);
	} else if (room->body & BODY_CHUNKED || (room->length == NO_LENGTH && (follows || exchange->without_bodies))) {
		await_answer(key, slot, room);
	} else if (room->length >= LONGEST_BODY) {
		lose_answers(slot, exchange);
	} else {
		room->walk.at += room->length;
		/* what begins like an answer may be the body, if another one follows that */
		if (follows && room->length && !is_answer_at(skb, room, room->walk.at)) {
			room->walk.at = room->end;
			if (!exchange->without_bodies) {
				lose_answers(slot, exchange);
				return;
			}
		}
		await_answer(key, slot, room);
	}
}

/* Behind the last chunk of an answer. */
static __always_inline void end_chunks(u64 key, struct turn_slot *slot, struct exchange *exchange, struct head_room *room)
{
	struct frame_walk *walk = &room->walk;

	if (exchange->asked == answers_to(exchange, slot))
		return;
	room->end = walk->at;
	if (walk->more || (walk->ended && walk->header[1]))
		lose_answers(slot, exchange);
	else if (walk->ended)
		await_answer(key, slot, room);
}

/* What is known of a segment before it is looked through; see room->goes_on for what is to be done with it. */
static __always_inline void begin_segment(struct __sk_buff *skb, u64 key, struct head_room *room)
{
	struct turn_slot *slot = slot_of(room);
	struct exchange *exchange = slot ? exchange_at(slot, key) : 0;
	u8 goes_on = room->goes_on;

	if (!exchange) {
		room->goes_on = 0;
		return;
	}
	if (goes_on == GOES_ON_CHUNKS)
		return;
	room->goes_on = 0;
	if (goes_on == GOES_ON_ANSWERS) {
		if (begin_answer(skb, slot, exchange, room))
			room->goes_on = GOES_ON_ANSWERS;
		return;
	}
	if (goes_on == GOES_ON_EMPTY && !pass_empty_line(skb, room))
		return;
	if (begin_request(key, slot, exchange, room))
		room->goes_on = GOES_ON_REQUEST;
}

/* What has come of that. */
static __always_inline void end_segment(struct __sk_buff *skb, u64 key, struct head_room *room)
{
	struct turn_slot *slot = slot_of(room);
	struct exchange *exchange = slot ? exchange_at(slot, key) : 0;

	if (!exchange)
		return;
	if (room->goes_on == GOES_ON_ANSWERS)
		take_one_answer(skb, key, slot, exchange, room);
	else if (room->goes_on == GOES_ON_REQUEST)
		end_request(skb, key, slot, exchange, room);
	AS_STORED();
	if (room->goes_on != GOES_ON_CHUNKS)
		return;
	walk_chunks(skb, slot, room);
	AS_STORED();
	if (exchange->asker != (room->head.egress ? SPEAKER_LOCAL : SPEAKER_REMOTE))
		end_chunks(key, slot, exchange, room);
}

/* Where this program has run too often for a segment. */
static __always_inline void lose_rest(u64 key, struct head_room *room)
{
	struct turn_slot *slot = slot_of(room);
	struct exchange *exchange = slot ? exchange_at(slot, key) : 0;

	if (exchange)
		lose_answers(slot, exchange);
}

/*
 * What the packet programs leave to this one. Each thing is done at one place for all that need it, because the verifier would
 * follow it at each; and so that it need not know for which, what was looked up is looked up again.
 */
static __always_inline void continue_request(struct __sk_buff *skb)
{
	struct head_room *room = taken_room();
	u64 key = (u64)packet_socket(skb);

	if (!room)
		return;
	if (room->goes_on == GOES_ON_FIRST)
		room->stops = 0;
	else
		begin_segment(skb, key, room);
	AS_STORED();
	look_through(skb, room);
	AS_STORED();
	if (room->goes_on == GOES_ON_FIRST) {
		take_first_head(skb, key, room);
		give_room_back();
		return;
	}
	end_segment(skb, key, room);
	AS_STORED();
	if (room->upgrades) {
		room->walk.in_scope = may_list_heads_of(key);
		continuations.call(skb, FRAMES);
	}
	if (room->most)
		list_head(skb, key, room);
	room->most = 0;
	AS_STORED();
	if (room->goes_on == GOES_ON_ANSWERS) {
		continuations.call(skb, REQUESTS_ASKED);
		lose_rest(key, room);
	}
	give_room_back();
}

int requests(struct __sk_buff *skb)
{
	continue_request(skb);
	return 1;
}

#endif
