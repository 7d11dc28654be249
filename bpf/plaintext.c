/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Requests of HTTP inside TLS, from uprobes where a TLS library takes plaintext or gives it: what a program hands to
 * SSL_write(3), and what SSL_read(3) hands to it; plaintext_go.c has those of Go. Compiled only with --decrypt, because that reads secrets, and because a uprobe
 * is a breakpoint in the watched programs.
 *
 * A call has ended where its function executes `ret`: the probe is on that instruction. A uretprobe would put an address of its
 * own on the program's stack, and on some kernels end programs that are sandboxed.
 *
 * Which socket a session uses is learnt from the session's own calls: what the thread of such a call sends meanwhile, as it
 * holds the socket, and begins as a record of TLS does, is of that session. Where the call only fills memory, and the program
 * sends that later, nothing says so for certain, and the socket stays unknown.
 */

#ifdef DECRYPT
#define MOST_PROLOGUE_BYTES 256 /* between the stack pointer where a call is seen to begin and where it is to return */
#define CONTENT_LENGTH_DIGITS 16
#define SPARE_BYTES (CAPTURED_REQUEST_BYTES + CONTENT_LENGTH_DIGITS) /* behind a head, so that its last bytes may be looked at as all others are */
#define MOST_CALL_BYTES (1 << 30)
#define TWO_ANSWER_BYTES 34 /* at least; "HTTP/1.1 100 Continue" alone has 25 */
#define TLS_RECORD_KINDS 4 /* change_cipher_spec, alert, handshake, application_data: 20 and on, RFC 8446 section 5.1 */

#define TLS_FRAMES 0
#define TLS_TAKEN 1
BPF_PROG_ARRAY(tls_continuations, 2);

/* By thread. Nothing is removed by others, and the thread removes its own where its call or its life ends. */
struct tls_call {
	u64 thread_start_ns; /* addresses of tasks are reused */
	u64 stack;
	u64 session;         /* address of the library's SSL */
	u64 buffer;
	u64 bytes;           /* what the call came to; of a call that goes on 0 */
	u64 length_at;       /* where the function writes how much it was; 0: it returns that */
	u64 began_ns;
	u64 socket;          /* that was sent to meanwhile, with the seen_ns of its entry; 0: none */
	u64 seen_ns;
	u64 goroutine;       /* address of the runtime's g; 0: of a library */
	u32 writes;
	u16 sockets;         /* how many there were, 2 at most */
	u16 joins;           /* the call is found where a packet leaves: see goroutine_call() */
};
BPF_HASH(tls_calls, u64, struct tls_call, 4096);

struct tls_session_key {
	u64 session;
	u64 start_boot_ns; /* of the process */
	u32 pid;
	u32 pad;
};
/*
 * Threads of Go read and write at the same time: each field is written by one of them only, or is only ever set. So there are no
 * bits that share a byte.
 */
struct tls_session {
	u64 born_ns; /* with the address its identity */
	u64 socket;
	u64 seen_ns;
	u64 listed;  /* by number modulo 64: the request was handed on, and so is its answer */
	u64 said[2]; /* bytes that the program has got, and that it has written */
	u64 body_until; /* of these, in the direction of the requests: where the body of the newest one ends, as its head says */
	u64 open[2];    /* the goroutine that reads, and that writes: plaintext_go.c */
	u32 asked;
	u32 answered;
	u8 asker;     /* SPEAKER_* */
	u8 method;    /* METHOD_* of the newest request */
	u8 silent;    /* what is said is no HTTP/1, or no longer */
	u8 unclear;   /* it used two sockets in one call: which one is its own is not asked again */
	u8 pipelined; /* the client asked again before the answer: which answer is whose is not certain */
	u8 http2;     /* plaintext_frames.c */
	u8 missed;    /* a call of it was not seen to its end */
	u8 ended;     /* while a call was open, which then removes this */
	/* By direction as `said`, and here because the verifier would follow each case apart: see scan_part(). */
	u8 held[2];   /* the last call came to one byte, */
	u8 first[2];  /* this one: Go's servers read it ahead; */
	u8 ahead[2];  /* what it began is looked at now */
	u8 pad[2];
};
_Static_assert(sizeof(struct tls_session_key) == 24 && sizeof(struct tls_session) == 96, "TLS_SESSION in nettop/kernel/abi.py");
/* Not all programs free what they made, and processes are killed: the one that was used longest ago gives way. */
BPF_TABLE("lru_hash", struct tls_session_key, struct tls_session, tls_sessions, 16384);

static __always_inline struct tls_call *goroutine_call(u64 task);

static __always_inline struct tls_call *tls_call_of(u64 task)
{
	struct tls_call *call = tls_calls.lookup(&task);

	return call && call->thread_start_ns == thread_start(task) ? call : 0;
}

/* Plaintext of processes that are not watched is not looked at. */
static __always_inline int is_watched(u64 task)
{
#if defined(SCOPE_NETNS) || defined(SCOPE_BY_PROCESS)
	struct process_id owner = {};

	if (!netns_in_scope(netns_of_task(task)))
		return 0;
	identify(&owner, (void *)task);
	return process_in_scope(&owner);
#else
	return 1;
#endif
}

static __always_inline void name_session(struct tls_session_key *key, u64 task, u64 session)
{
	void *leader = 0;

	key->session = session;
	READ(leader, task, OFFSET_task_struct_group_leader);
	READ(key->start_boot_ns, leader, OFFSET_task_struct_start_boottime);
	READ(key->pid, task, OFFSET_task_struct_tgid);
}

/* How much a call was will not be known. */
static __always_inline void miss_call(u64 task, u64 address)
{
	struct tls_session_key key = {};
	struct tls_session *session;

	name_session(&key, task, address);
	session = tls_sessions.lookup(&key);
	if (session)
		session->missed = 1;
}

static __always_inline void begin_tls_call(struct pt_regs *ctx, u32 writes, u64 length_at)
{
	u64 task = plain(bpf_get_current_task());
	struct tls_call *open = tls_call_of(task), call = {};

	if (!is_watched(task)) {
		tls_calls.delete(&task);
		return;
	}
	call.thread_start_ns = thread_start(task);
	call.stack = plain(PT_REGS_SP(ctx));
	call.session = plain(PT_REGS_PARM1(ctx));
	call.buffer = plain(PT_REGS_PARM2(ctx));
	call.length_at = length_at;
	call.began_ns = bpf_ktime_get_ns();
	call.writes = writes;
	/* one within another, as of TLS inside TLS; or a function that calls another of these to do the same */
	if (open && (open->session != call.session || open->buffer != call.buffer))
		miss_call(task, open->session);
	if (tls_calls.update(&task, &call)) {
		count_loss(TLS_CALLS_WITHOUT_ROOM, 1);
		miss_call(task, call.session);
	}
}

int tls_write(struct pt_regs *ctx)
{
	begin_tls_call(ctx, 1, 0);
	return 0;
}

int tls_write_ex(struct pt_regs *ctx)
{
	begin_tls_call(ctx, 1, plain(PT_REGS_PARM4(ctx)));
	return 0;
}

/* SSL_write_ex2(3), since OpenSSL 3.3, in which SSL_write_ex() does nothing but jump to it. */
int tls_write_ex2(struct pt_regs *ctx)
{
	begin_tls_call(ctx, 1, plain(PT_REGS_PARM5(ctx)));
	return 0;
}

int tls_read(struct pt_regs *ctx)
{
	begin_tls_call(ctx, 0, 0);
	return 0;
}

int tls_read_ex(struct pt_regs *ctx)
{
	begin_tls_call(ctx, 0, plain(PT_REGS_PARM4(ctx)));
	return 0;
}

/*
 * Where a request ends that lies here with its head, and its body behind that, by its Content-Length; 0 if the head does not end
 * here. Without a branch in the loop, because the verifier follows every branch. There is more room than `bytes`.
 */
static __always_inline u64 request_ends(u8 *text, u64 bytes)
{
	u64 at, end = 0, field = 0, length = 0, number;

#pragma clang loop unroll(disable)
	for (at = 0; at < CAPTURED_REQUEST_BYTES; at++) {
		u64 first = *(u64 *)(text + at), second = *(u64 *)(text + at + 8), ends, found, open;

		ends = (first & 0xffffffff) ^ 0x0a0d0a0d;
		first = ((first | 0x2020202020202000) ^ 0x746e65746e6f630a) | ((second | 0x0020202020202000) ^ 0x3a6874676e656c2d);
		HIDE(ends);
		HIDE(first);
		open = is_set(end) ^ 1; /* it has not ended before this */
		ends = (is_set(ends) ^ 1) & open & ((at + 3 - bytes) >> 63);
		found = (is_set(first) ^ 1) & open;
		HIDE(ends);
		HIDE(found);
		end += ends * (at + 4);
		field += found * (at + 16 - field);
	}
	if (!end || end > bytes)
		return 0;
	if (!field)
		return end;
	HIDE(field);
#pragma clang loop unroll(disable)
	for (number = 0; number < CONTENT_LENGTH_DIGITS; number++) {
		u8 digit = text[(field & (2 * CAPTURED_REQUEST_BYTES - 1)) + number];

		if (digit == ' ' && !length)
			continue;
		if ((u8)(digit - '0') > 9)
			break;
		length = length * 10 + digit - '0';
	}
	return end + length;
}

/* What is known of a record before it is made. */
struct tls_words {
	u64 task;
	u64 time_ns;
	u64 buffer;
	u64 bytes;   /* of the call */
	u32 number;
	u8 kind;     /* PLAINTEXT_* */
	u8 writes;
	u8 listed;   /* or else only the end of the request is looked for */
};

/* What all records say: who, and on which connection. */
static __always_inline void describe_plaintext(struct http_head *record, u64 task, struct tls_session_key *key,
					       struct tls_session *session)
{
	u64 socket = session->socket;
	struct socket_entry *entry;

	record->netns = netns_of_task(task);
	record->owner_certainty = OWNER_EXACT;
	((u64 *)record->prefix)[0] = key->session;
	((u64 *)record->prefix)[1] = session->born_ns;
	identify(&record->owner, (void *)task);
	entry = socket ? sockets.lookup(&socket) : 0;
	if (entry && entry->seen_ns == session->seen_ns) { /* it is still open */
		record->socket = socket;
		record->seen_ns = entry->seen_ns;
		read_both_ends(record, socket);
	}
}

/* How many bytes of what a call begins were in the call before. */
static __always_inline u64 bytes_ahead(struct tls_session *session, struct tls_words *words)
{
	return session->ahead[words->writes & 1] & 1;
}

/* Complete and hand on the record, with `room` bytes behind it, a power of two. */
static __always_inline int tell_plaintext(struct tls_words *words, struct tls_session_key *key, struct tls_session *session, u32 room)
{
	u32 spare = room == CAPTURED_REQUEST_BYTES ? SPARE_BYTES : 0;
	u64 ahead = spare ? bytes_ahead(session, words) : 0;
	struct spilled_head *head = spilled.ringbuf_reserve(sizeof(*head) + sizeof(struct http_head) + room + spare);
	struct http_head *record = (void *)(head + 1);
	u64 last = words->bytes + ahead - 1;
	u8 *text = (u8 *)(record + 1);
	int done;

	if (!head) {
		count_loss(LOST_HTTP_EVENTS, 1);
		return 0;
	}
	head->buffer = LOST_HTTP_EVENTS;
	__builtin_memset(record, 0, sizeof(*record));
	record->time_ns = words->time_ns;
	record->number = words->number;
	record->kind = words->kind;
	record->egress = words->writes;
	record->payload_bytes = words->bytes + ahead;
	describe_plaintext(record, words->task, key, session);
	if (last > room - 1)
		last = room - 1;
	record->captured_bytes = words->bytes ? last + 1 : 0;
	text[0] = session->first[words->writes & 1];
	last -= ahead;
	asm volatile("%0 &= %1\n%0 += 1" : "+r"(last) : "r"((u64)room - 1));
	HIDE(ahead);
	done = !words->bytes || !read_user(text + (ahead & 1), last, (void *)words->buffer);
	if (!done)
		count_loss(LOST_HTTP_EVENTS, 1);
	else if (spare)
		session->body_until = session->said[words->writes & 1] - ahead + request_ends(text, last + ahead);
	if (!done || !words->listed) {
		spilled.ringbuf_discard(head, BPF_RB_NO_WAKEUP);
		return 0;
	}
	spilled.ringbuf_submit(head, BPF_RB_NO_WAKEUP);
	return 1;
}

static __always_inline void take_request_inside(struct tls_session_key *key, struct tls_session *session, struct tls_words *words,
						u32 method, u64 now_ns)
{
	u32 waiting = session->asked - session->answered;
	u8 asker = words->writes ? SPEAKER_LOCAL : SPEAKER_REMOTE;
	u64 interval_ns = control(REQUEST_INTERVAL_NS);

	if (session->asker && session->asker != asker)
		return;
	if ((s64)(session->said[words->writes & 1] - bytes_ahead(session, words) - session->body_until) < 0 || (waiting && session->method != METHOD_BARE))
		return; /* it is a body, or may be one */
	if (waiting)
		session->pipelined = 1;
	words->kind = session->pipelined ? PLAINTEXT_PIPELINED : PLAINTEXT_REQUEST;
	words->number = session->asked;
	words->listed = may_pass(DUE_REQUESTS, now_ns, interval_ns, interval_ns * REQUESTS_AT_ONCE);
	session->asker = asker;
	session->method = method;
	session->asked++;
	session->listed &= ~bits_of(words->number, 1);
	if (!words->listed)
		count_unlisted(1);
	if (tell_plaintext(words, key, session, CAPTURED_REQUEST_BYTES))
		session->listed |= bits_of(words->number, 1);
}

/*
 * The answerer has said what is not known to be an answer, or may be two: it may have been the beginning of one. What waits for an
 * answer is told that it is not certain any more which one is whose, and so are the requests that follow.
 */
static __always_inline void lose_answers_inside(struct tls_session_key *key, struct tls_session *session, struct tls_words *words)
{
	u8 answerer = words->writes ? SPEAKER_REMOTE : SPEAKER_LOCAL;
	struct tls_words lost = {.task = words->task, .time_ns = words->time_ns, .kind = PLAINTEXT_RESPONSE, .writes = words->writes, .listed = 1};

	if (session->silent || session->http2 || session->asked == session->answered || session->asker != answerer)
		return;
	session->pipelined = 1;
	session->answered = session->asked;
	if (session->listed)
		tell_plaintext(&lost, key, session, PLAINTEXT_ANSWER_BYTES);
}

static __always_inline void take_answer_inside(struct tls_session_key *key, struct tls_session *session, struct tls_words *words,
					       u32 status)
{
	u8 hundreds = status, answerer = words->writes ? SPEAKER_REMOTE : SPEAKER_LOCAL;

	if (session->asked == session->answered || session->asker != answerer || hundreds < '1' || hundreds > '5')
		return;
	if (hundreds == '1' && status != 0x313031) { /* "101": what is 1xx otherwise comes before the answer */
		if (words->bytes >= TWO_ANSWER_BYTES)
			lose_answers_inside(key, session, words);
		return;
	}
	if (hundreds == '1' || (session->method == METHOD_CONNECT && hundreds == '2'))
		session->silent = 1;
	words->number = session->answered++;
	words->kind = PLAINTEXT_RESPONSE;
	words->listed = 1;
	if (session->listed & bits_of(words->number, 1))
		tell_plaintext(words, key, session, PLAINTEXT_ANSWER_BYTES);
}

static __always_inline void begin_http2_inside(struct tls_session_key *key, struct tls_session *session, u32 writes);
static __always_inline void take_frames_inside(struct pt_regs *ctx, struct tls_words *words, struct tls_session_key *key,
					       struct tls_session *session, u32 begin);
static __always_inline void end_http2_inside(struct tls_session_key *key, struct tls_session *session, struct tls_words *words);
static __always_inline void forget_http2_inside(struct tls_session_key *key);

/* What a call says about its session's socket. A session that has moved to another one begins anew. */
static __always_inline void join_session(struct tls_session *session, struct tls_call *call)
{
	if (!call->sockets || session->unclear)
		return;
	if (call->sockets > 1) {
		session->socket = session->seen_ns = 0;
		session->unclear = 1;
		return;
	}
	if (session->socket && (session->socket != call->socket || session->seen_ns != call->seen_ns)) {
		session->born_ns = call->began_ns;
		session->asked = session->answered = 0;
		session->asker = session->silent = session->pipelined = session->http2 = session->missed = 0;
		session->held[0] = session->held[1] = 0;
		session->body_until = 0;
	}
	session->socket = call->socket;
	session->seen_ns = call->seen_ns;
}

/* A call that came to one byte: what follows is looked at together with it. */
static __always_inline void hold_first(struct tls_session *session, struct tls_words *words)
{
	u8 first = 0;

	if (words->bytes != 1 || session->http2 || read_user(&first, 1, (void *)words->buffer))
		return;
	session->first[words->writes & 1] = first;
	session->held[words->writes & 1] = 1;
}

static __always_inline void look_inside(struct tls_session_key *key, struct tls_session *session, struct tls_words *words,
					u64 now_ns)
{
	u64 start[HEAD_BYTES / 8] = {}, behind[HEAD_BYTES / 8];
	u8 held = session->held[words->writes & 1];

	session->held[words->writes & 1] = session->ahead[words->writes & 1] = 0;
	hold_first(session, words);
	if (session->silent || session->http2)
		return;
	if (words->bytes < HEAD_BYTES || read_user(start, HEAD_BYTES, (void *)words->buffer)) {
		lose_answers_inside(key, session, words);
		return;
	}
	if (start[0] == PREFACE_1 && start[1] == PREFACE_2 && !session->said[words->writes & 1]) {
		begin_http2_inside(key, session, words->writes & 1);
		return;
	}
	if (held) {
		behind[0] = start[0] << 8 | session->first[words->writes & 1];
		behind[1] = start[1] << 8 | start[0] >> 56;
		if (begins_request(behind)) {
			start[0] = behind[0];
			start[1] = behind[1];
			session->ahead[words->writes & 1] = 1;
		}
	}
	AS_STORED();
	if ((start[0] & FIRST_SEVEN) == HTTP_1_)
		take_answer_inside(key, session, words, (start[1] >> 8) & 0xffffff); /* three digits */
	else if (begins_request(start))
		take_request_inside(key, session, words, method_of((u32)start[0]), now_ns);
	else
		lose_answers_inside(key, session, words);
}

/* A goroutine has left a call. */
static __always_inline void leave_session(struct tls_session_key *key, struct tls_session *session, u32 writes)
{
	session->open[writes & 1] = 0;
	if (!session->ended || session->open[0] || session->open[1])
		return;
	forget_http2_inside(key);
	tls_sessions.delete(key);
}

static __always_inline struct tls_session *session_of(struct tls_session_key *key, u64 began_ns)
{
	struct tls_session *session = tls_sessions.lookup(key);

	if (!session) {
		struct tls_session fresh = {.born_ns = began_ns};

		tls_sessions.update(key, &fresh);
		session = tls_sessions.lookup(key);
	}
	return session;
}

static __always_inline void take_plaintext(struct pt_regs *ctx, u64 task, struct tls_call *call)
{
	struct tls_words words = {.task = task, .buffer = call->buffer, .bytes = call->bytes, .writes = call->writes};
	struct tls_session_key key = {};
	struct tls_session *session;
	u64 now_ns = bpf_ktime_get_ns();
	u32 begin;

	name_session(&key, task, call->session);
	session = session_of(&key, call->began_ns);
	if (!session)
		return;
	join_session(session, call);
	words.time_ns = words.writes ? call->began_ns : now_ns;
	if (!session->ended) {
		look_inside(&key, session, &words, now_ns);
		begin = session->said[words.writes & 1];
		session->said[words.writes & 1] += call->bytes;
		if (session->http2 && !session->silent)
			take_frames_inside(ctx, &words, &key, session, begin);
	}
	if (!words.writes)
		leave_session(&key, session, 0);
}

/* What a call has come to, which is noted in tls_calls: the verifier follows this once, for all that call it. */
int tls_taken(struct pt_regs *ctx)
{
	u64 task = plain(bpf_get_current_task());
	struct tls_call *open = tls_call_of(task), call;

	if (!open || !open->bytes)
		return 0;
	call = *open;
	tls_calls.delete(&task);
	take_plaintext(ctx, task, &call);
	return 0;
}

/* Where one of these functions executes `ret`. */
int tls_returned(struct pt_regs *ctx)
{
	u64 task = plain(bpf_get_current_task()), bytes = 0, session;
	struct tls_call *open = tls_call_of(task);
	s64 above;
	s32 returned = plain(PT_REGS_RC(ctx));

	if (!open)
		return 0;
	above = plain(PT_REGS_SP(ctx)) - open->stack;
	if (above < 0) /* a function that was called within this call, of which only the end was seen */
		return 0;
	session = open->session;
	bytes = returned;
	if (above <= MOST_PROLOGUE_BYTES && returned <= 0) { /* without success */
		tls_calls.delete(&task);
		return 0;
	}
	if (above > MOST_PROLOGUE_BYTES || /* of a call around one that never returned */
	    (open->length_at && read_user(&bytes, sizeof(bytes), (void *)open->length_at))) {
		miss_call(task, session);
	} else if (bytes - 1 < MOST_CALL_BYTES) {
		open->bytes = bytes;
		tls_continuations.call(ctx, TLS_TAKEN);
	}
	tls_calls.delete(&task);
	return 0;
}

/* SSL_sendfile(3) and other functions by which a program may say or hear something that is not looked at. */
int tls_missed(struct pt_regs *ctx)
{
	miss_call(plain(bpf_get_current_task()), plain(PT_REGS_PARM1(ctx)));
	return 0;
}

/* Tell that a session is over, if anybody waits for that. */
static __always_inline void tell_session_end(struct tls_session_key *key, struct tls_session *session, u64 task)
{
	struct tls_words words = {.task = task, .kind = PLAINTEXT_ENDED, .listed = 1};

	words.time_ns = bpf_ktime_get_ns();
	words.number = session->asked;
	if (session->listed && session->asked != session->answered)
		tell_plaintext(&words, key, session, PLAINTEXT_ANSWER_BYTES);
	if (session->http2)
		end_http2_inside(key, session, &words);
}

/* SSL_free(3), SSL_clear(3), SSL_set_bio(3): what was known of the session no longer holds. */
int tls_forgotten(struct pt_regs *ctx)
{
	u64 task = plain(bpf_get_current_task());
	struct tls_session_key key = {};
	struct tls_session *session;

	name_session(&key, task, plain(PT_REGS_PARM1(ctx)));
	session = tls_sessions.lookup(&key);
	if (!session)
		return 0;
	tell_session_end(&key, session, task);
	forget_http2_inside(&key);
	tls_sessions.delete(&key);
	return 0;
}

/* Call this where a thread ends. */
static __always_inline void tls_thread_ended(void *thread)
{
	u64 task = (u64)thread;

	tls_calls.delete(&task);
}

/* Call this for TCP payload that leaves: whether a thread sends it within a call of a TLS library. */
static __always_inline void note_tls_socket(struct __sk_buff *skb, u32 payload_at)
{
	u64 task = plain(bpf_get_current_task()), key;
	struct socket_entry *entry;
	struct tls_call *call;
	u32 held = 0;
	u8 record[3] = {};

	if (bpf_skb_load_bytes(skb, payload_at, record, sizeof(record)))
		return;
	if ((u8)(record[0] - 20) >= TLS_RECORD_KINDS || record[1] != 3 || record[2] > 4)
		return;
	call = tls_call_of(task);
	if (!call)
		call = goroutine_call(task);
	if (!call)
		return;
	key = (u64)packet_socket(skb);
	READ(held, key, OFFSET_sock_sk_lock_owned);
	if (!held) /* by an interrupt, in which any socket's packets may leave */
		return;
	entry = sockets.lookup(&key);
	if (!entry || (call->socket == key && call->seen_ns == entry->seen_ns))
		return;
	call->socket = key;
	call->seen_ns = entry->seen_ns;
	if (call->sockets < 2)
		call->sockets++;
}
#endif
