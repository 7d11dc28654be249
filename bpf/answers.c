/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Answers of HTTP/1 of which the next one may begin anywhere: informational ones, and those to several requests that wait at
 * once. Where the next one begins is told by the length of the body, or of its chunks. The program `requests`, of which this is a
 * part, runs again for each in a segment. Where that is not known, what waits is answered by what is unknown.
 */
#ifdef REQUESTS

static __always_inline int begins_answer(u64 *words)
{
	return (words[0] & FIRST_SEVEN) == HTTP_1_;
}

/* Nobody knows any more which answer is whose; nor will, if there were several, because one that comes may be of any of them. */
static __always_inline void lose_answers(struct turn_slot *slot, struct exchange *exchange, struct head_room *room, int several)
{
	u32 number = answers_to(exchange, slot), waiting = exchange->asked - number;

	if (waiting && several)
		exchange->heads_known |= HEADS_LOST;
	if (waiting && exchange->listed & bits_of(number, waiting))
		room->goes_on = GOES_ON_LOST;
	exchange->answered = exchange->asked;
	slot->answers = 0;
}

/* So that they do not wait for ever: a record without an answer. */
static __always_inline void tell_lost(struct exchange *exchange, struct head_room *room)
{
	struct http_head *head = &room->head;

	if (room->most)
		return; /* the next time */
	room->goes_on = 0;
	head->kind = HTTP_RESPONSE;
	head->number = exchange->asked;
	head->requests = head->prefix_bytes = 0;
	room->most = 1;
}

/* Go on so many bytes further. Returns whether an answer begins there; 0 also where too little of one is there to tell. */
static __always_inline int begin_next(struct __sk_buff *skb, u64 key, struct turn_slot *slot, struct exchange *exchange,
				      struct head_room *room, u32 further)
{
	int enough = step_to(skb, room, further, ANSWER_BYTES);
	u64 last = room->walk.bytes - 1;

	exchange->heads[room->head.egress & 1] = room->head.seq;
	slot->unfinished &= ~(1 << room->head.egress);
	if (enough && begins_answer(room->start))
		return 1;
	if (last < ANSWER_BYTES - 1 && !read_short(skb, room->walk.payload_offset, last + 1, room->start) &&
	    (u8)room->start[0] == 'H' && !has_line_end(room->start)) {
		exchange->heads[room->head.egress & 1]--; /* it is looked at once more */
		keep_beginning(key, slot, room, 0);
	} else {
		lose_answers(slot, exchange, room, 1);
	}
	return 0;
}

/* Of a head that goes on: where it does. */
static __always_inline void await_interim(u64 key, struct turn_slot *slot, struct head_room *room)
{
	struct unfinished *fresh = make_unfinished(key, slot, room);

	if (!fresh)
		return;
	fresh->next = room->walk.begin + room->walk.bytes;
	fresh->kind = HTTP_INTERIM;
	fresh->tail = room->tail;
	fresh->status = room->start[1];
	slot->unfinished |= 1 << room->head.egress;
}

/* Find the answer that a segment has. Returns whether there is one. */
static __always_inline int begin_answer(struct __sk_buff *skb, u64 key, struct turn_slot *slot, struct exchange *exchange,
					struct head_room *room)
{
	struct http_head *head = &room->head;
	struct unfinished *known;
	u32 further = room->walk.at;

	room->stops = 1;
	room->walk.ended = 0;
	if (!further) {
		if (!(slot->unfinished & (1 << head->egress)))
			return 1;
		known = unfinished_heads.lookup(&room->place);
		if (!known)
			return 0;
		further = known->next - head->seq;
		if (known->kind == HTTP_INTERIM && !further) {
			end_across(room, known);
			room->tail = known->tail;
			room->start[1] = known->status;
			slot->unfinished &= ~(1 << head->egress);
			return exchange->asked != exchange->answered;
		}
		if (further && head->seq == known->begin && begins_answer(room->start)) {
			slot->unfinished &= ~(1 << head->egress);
			lose_answers(slot, exchange, room, 1); /* the body, or what follows the answer to a HEAD, which has none */
			return 0;
		}
		if (!(further >> 31) && further >= head->payload_bytes)
			return 0;
		if (further >> 31) {
			slot->unfinished &= ~(1 << head->egress);
			lose_answers(slot, exchange, room, 1);
			return 0;
		}
	}
	return begin_next(skb, key, slot, exchange, room, further) && exchange->asked != exchange->answered;
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
			await_interim(key, slot, room);
		else
			lose_answers(slot, exchange, room, waiting > 1);
		return;
	}
	begin_answers(slot, exchange, room);
	note_answers(slot, exchange, room, number, waiting, 1);
	if (waiting == 1 || slot->unfinished & TURN_TUNNEL)
		return;
	if (room->end && (status == 0x343032 || status == 0x343033)) { /* "204" and "304" have no body */
		await_answer(key, slot, room);
		return;
	}
	follows = is_answer_at(skb, room, room->end);
	AS_STORED();
	if (!room->end || room->body & BODY_UNKNOWN) {
		lose_answers(slot, exchange, room, waiting > 1);
	} else if (room->body & BODY_CHUNKED && !follows) { /* no chunk begins like an answer; one to a HEAD has none */
		pass_over_chunks(key, slot, room);
	} else if (room->body & BODY_CHUNKED || (room->length == NO_LENGTH && (follows || exchange->without_bodies))) {
		await_answer(key, slot, room);
	} else if (room->length >= LONGEST_BODY) {
		lose_answers(slot, exchange, room, waiting > 1);
	} else {
		room->walk.at += room->length;
		/* what begins like an answer is the body if another one follows that, and this one is not to a HEAD */
		if (follows && room->length && (exchange->without_bodies || !is_answer_at(skb, room, room->walk.at))) {
			lose_answers(slot, exchange, room, waiting > 1);
			return;
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
		lose_answers(slot, exchange, room, 1);
	else if (walk->ended)
		await_answer(key, slot, room);
}

/* Behind the last chunk of a request. */
static __always_inline void end_asked_chunks(struct exchange *exchange, struct head_room *room)
{
	exchange->heads[room->head.egress & 1] = room->walk.begin + room->walk.at - 1;
	exchange->heads_known |= HEADS_ENDED;
	go_behind(room, room->walk.at);
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
	if (goes_on == GOES_ON_CHUNKS || goes_on == GOES_ON_LOST)
		return;
	if (goes_on == GOES_ON_HEAD) {
		begin_rest(skb, slot, room);
		return;
	}
	room->goes_on = 0;
	if (goes_on == GOES_ON_ANSWERS) {
		if (begin_answer(skb, key, slot, exchange, room))
			room->goes_on = GOES_ON_ANSWERS;
		return;
	}
	if (goes_on == GOES_ON_EMPTY && !pass_empty_line(skb, room))
		return;
	if (begin_request(skb, key, slot, exchange, room))
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
	else if (room->goes_on == GOES_ON_HEAD)
		end_rest(skb, key, slot, exchange, room);
	AS_STORED();
	if (room->goes_on == GOES_ON_CHUNKS) {
		walk_chunks(skb, slot, room);
		AS_STORED();
		room->goes_on = 0;
		if (exchange->asker != (room->head.egress ? SPEAKER_LOCAL : SPEAKER_REMOTE))
			end_chunks(key, slot, exchange, room);
		else if (room->walk.ended && !room->walk.header[1])
			end_asked_chunks(exchange, room);
	}
	AS_STORED();
	if (room->goes_on == GOES_ON_LOST)
		tell_lost(exchange, room);
}

/* Where this program has run too often for a segment. */
static __always_inline void lose_rest(u64 key, struct head_room *room)
{
	struct turn_slot *slot = slot_of(room);
	struct exchange *exchange = slot ? exchange_at(slot, key) : 0;

	if (exchange && room->goes_on == GOES_ON_ANSWERS)
		lose_answers(slot, exchange, room, exchange->asked - answers_to(exchange, slot) > 1);
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
	if (room->goes_on) {
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
