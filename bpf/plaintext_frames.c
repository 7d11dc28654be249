/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Requests of HTTP/2 inside TLS: the frames of what plaintext.c sees, walked as those of a segment are by http2.c. Their places
 * are counted in the plaintext of a direction from the preface on, so a session is followed only if it was seen to begin and as
 * long as no call of it is missed: nothing in the plaintext says where a frame begins. Then nothing of it is read any more.
 */

#ifdef DECRYPT
struct tls_http2 {
	u64 born_ns; /* as in tls_session */
	struct http2 http2;
	struct exchange exchange;
};
BPF_TABLE("lru_hash", struct tls_session_key, struct tls_http2, tls_http2, 8192);
BPF_ARRAY(no_tls_http2, struct tls_http2, 1);

/* Of calls whose frames are walked now, by thread, since one may wait for its CPU in between; `place` is the session's address. */
BPF_HASH(tls_rooms, u64, struct head_room, 256);
BPF_ARRAY(no_tls_room, struct head_room, 1);

static __always_inline void begin_http2_inside(struct tls_session_key *key, struct tls_session *session, u32 writes)
{
	struct tls_http2 *fresh, *inside;
	struct frame_way *way, *back;
	int only = 0;

	fresh = no_tls_http2.lookup(&only);
	if (!fresh || tls_http2.update(key, fresh) || !(inside = tls_http2.lookup(key))) {
		session->http2 = 1; /* it is missed with its next call */
		return;
	}
	inside->born_ns = session->born_ns;
	inside->exchange.asker = writes ? SPEAKER_LOCAL : SPEAKER_REMOTE;
	inside->exchange.http2 = HTTP2_SPOKEN;
	way = writes ? &inside->http2.ways[1] : &inside->http2.ways[0];
	back = writes ? &inside->http2.ways[0] : &inside->http2.ways[1];
	way->next = PREFACE_BYTES;
	way->state = WAY_FIRST;
	/* A server need not wait for the preface. If it writes right now, one of these two is seen there, or the session is missed. */
	back->next = writes ? session->said[0] : session->said[1];
	session->http2 = 1;
	back->state = back->next ? WAY_KNOWN : WAY_FIRST;
}

/* Tell that a session has ended, or that it is followed no longer, and how many requests it had. */
static __always_inline void tell_http2_end(struct tls_session_key *key, struct tls_session *session, u64 task, u64 time_ns,
					   u8 flags)
{
	struct tls_http2 *inside = tls_http2.lookup(key);
	struct spilled_head *head = spilled.ringbuf_reserve(sizeof(*head) + sizeof(struct http_head));
	struct http_head *record = (void *)(head + 1);

	if (!head) {
		count_loss(LOST_HTTP_EVENTS, 1);
		return;
	}
	head->buffer = LOST_HTTP_EVENTS;
	__builtin_memset(record, 0, sizeof(*record));
	record->time_ns = time_ns;
	record->kind = PLAINTEXT_ENDED;
	record->http2 = flags;
	if (inside && inside->born_ns == session->born_ns)
		record->payload_bytes = inside->exchange.asked;
	describe_plaintext(record, task, key, session);
	spilled.ringbuf_submit(head, BPF_RB_NO_WAKEUP);
}

static __always_inline void miss_http2_inside(struct tls_session_key *key, struct tls_session *session, u64 task, u64 time_ns)
{
	session->silent = 1;
	count_loss(TLS_HTTP2_SESSIONS, 1);
	tell_http2_end(key, session, task, time_ns, HTTP2_SPOKEN | HTTP2_LEFT_OUT);
	tls_http2.delete(key);
}

static __always_inline void end_http2_inside(struct tls_session_key *key, struct tls_session *session, struct tls_words *words)
{
	u8 flags = session->missed || session->silent ? HTTP2_SPOKEN | HTTP2_LEFT_OUT : HTTP2_SPOKEN;

	tell_http2_end(key, session, words->task, words->time_ns, flags);
}

static __always_inline void forget_http2_inside(struct tls_session_key *key)
{
	tls_http2.delete(key);
}

/* Room for a call whose frames are to be walked; 0: there is none. */
static __always_inline struct head_room *take_tls_room(u64 task)
{
	struct head_room *fresh;
	int only = 0;

	fresh = no_tls_room.lookup(&only);
	if (!fresh)
		return 0;
	if (tls_rooms.update(&task, fresh)) {
		count_loss(TLS_CALLS_WITHOUT_ROOM, 1);
		return 0;
	}
	return tls_rooms.lookup(&task);
}

/* What a call has said, which begins at this place. */
static __always_inline void take_frames_inside(struct pt_regs *ctx, struct tls_words *words, struct tls_session_key *key,
					       struct tls_session *session, u32 begin)
{
	struct tls_http2 *inside = tls_http2.lookup(key);
	struct head_room *room;
	struct frame_way *way;
	u64 task = words->task;

	if (inside && inside->born_ns == session->born_ns && !session->missed) {
		way = words->writes ? &inside->http2.ways[1] : &inside->http2.ways[0];
		if ((s32)(way->next - begin - (u32)words->bytes) >= 0) /* within a frame that nobody wants */
			return;
		room = take_tls_room(task);
		if (room) {
			room->place = key->session;
			room->head.time_ns = words->time_ns;
			room->head.egress = words->writes;
			room->walk.buffer = words->buffer;
			room->walk.begin = begin;
			room->walk.bytes = words->bytes;
			room->walk.in_scope = 1;
			room->walk.asks = inside->exchange.asker == (words->writes ? SPEAKER_LOCAL : SPEAKER_REMOTE);
			begin_count(&inside->http2, way, room);
			tls_continuations.call(ctx, TLS_FRAMES);
			tls_rooms.delete(&task);
		}
	}
	miss_http2_inside(key, session, task, words->time_ns);
}

/* Complete and hand on the record of frames; it may have none. */
static __always_inline void tell_frames_inside(struct tls_session_key *key, struct tls_session *session, struct exchange *exchange,
					       struct head_room *room, u64 task)
{
	struct frame_walk *walk = &room->walk;
	struct http_head *head = &room->head;
	u64 used = walk->used;

	room->spilled.buffer = LOST_HTTP_EVENTS;
	head->kind = PLAINTEXT_FRAMES;
	head->number = walk->continued < walk->used ? walk->continued : walk->used;
	head->http2 = exchange->http2 | (walk->asks ? HTTP2_ASKS : 0);
	head->payload_bytes = exchange->asked;
	head->captured_bytes = used;
	describe_plaintext(head, task, key, session);
	HIDE(used);
	if (used > FRAMES_BYTES ||
	    spilled.ringbuf_output(&room->spilled, sizeof(room->spilled) + sizeof(*head) + used, BPF_RB_NO_WAKEUP))
		count_loss(LOST_HTTP_EVENTS, 1);
}

/* After the frames of a call have been walked. */
static __always_inline void end_walk_inside(struct tls_session_key *key, struct tls_session *session, struct tls_http2 *inside,
					    struct head_room *room, u64 task)
{
	struct frame_way *way = room->head.egress ? &inside->http2.ways[1] : &inside->http2.ways[0];
	struct frame_walk *walk = &room->walk;
	u8 was_left_out = way->left_out;

	if (walk->bad || (s32)(walk->begin + walk->bytes - way->next) > 0) { /* no frames, or more than are walked */
		miss_http2_inside(key, session, task, room->head.time_ns);
		return;
	}
	way->state = WAY_KNOWN;
	room->head.seq = way->handed;
	way->handed += walk->total;
	if (is_handed_on(&inside->http2, way, &inside->exchange, room)) {
		pay_for_heads(walk, room->head.time_ns);
	} else {
		if (!walk->total || was_left_out)
			return;
		room->head.seq = way->handed; /* so that nettop knows of it also if nothing follows */
		walk->used = walk->continued = 0;
	}
	tell_frames_inside(key, session, &inside->exchange, room, task);
}

/* Runs again and again for the frames of one call: see take_frames() in http2.c. */
int tls_frames(struct pt_regs *ctx)
{
	u64 task = plain(bpf_get_current_task());
	struct head_room *room = tls_rooms.lookup(&task);
	struct tls_session_key key = {};
	struct tls_session *session;
	struct tls_http2 *inside;
	struct frame_way *way;

	if (!room)
		return 0;
	name_session(&key, task, room->place);
	session = tls_sessions.lookup(&key);
	inside = tls_http2.lookup(&key);
	if (session && inside && room->walk.runs == WALK_ENDED) {
		end_walk_inside(&key, session, inside, room, task);
	} else if (session && inside) {
		way = room->head.egress ? &inside->http2.ways[1] : &inside->http2.ways[0];
		walk_frames(0, &inside->http2, way, room);
		tls_continuations.call(ctx, TLS_FRAMES);
		session->missed = 1;
	}
	if (session && !room->head.egress)
		leave_session(&key, session, 0);
	tls_rooms.delete(&task);
	return 0;
}
#endif
