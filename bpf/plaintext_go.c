/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The same inside Go's crypto/tls, from Go 1.17 on, which passes arguments and results in registers (ABIInternal,
 * cmd/compile/abi-internal.md): the receiver in AX, a slice in BX and CX, how much it was in AX; the goroutine in R14.
 *
 * A call belongs to a goroutine: that may go on in another thread, with its stack at another place. How far the stack pointer is
 * below the stack's upper end stays the same then (copystack() in runtime/stack.go), and says which call returns. The prologue of
 * a function may run twice for one call: it jumps back after the stack has grown, or after others have run.
 *
 * One goroutine may read from a session while another one writes, so what is written is looked at where the call begins: the
 * answer to it may have been read before the call returns.
 */

#if defined(DECRYPT) && defined(OFFSET_task_struct_thread_fsbase)
#define STACK_UPPER_END 8 /* in g: runtime/runtime2.go, which the linker knows too */
#define SLOT_OF_G 8       /* so far below the thread's FS base is the address of its g: runtime/go_tls.h, where no C is linked in */
#define GO_SHAKES 2       /* besides 0 and 1 of tls_call.writes */

/* By the address of g, in place of a session's. An idle connection has one that reads, so there are many; see begin_go_call(). */
BPF_TABLE("lru_hash", struct tls_session_key, struct tls_call, go_calls, 16384);

static __always_inline u64 goroutine_in_slot(u64 task)
{
	u64 base = 0, goroutine = 0;

	READ(base, task, OFFSET_task_struct_thread_fsbase);
	if (read_user(&goroutine, sizeof(goroutine), (void *)(base - SLOT_OF_G)))
		return 0;
	return goroutine;
}

/* That in which a thread sends something; 0: it is in none, or that is not certain, or it is no thread of Go. */
static __always_inline struct tls_call *goroutine_call(u64 task)
{
	struct tls_session_key goroutine = {};
	struct tls_call *call;

	name_session(&goroutine, task, goroutine_in_slot(task));
	call = go_calls.lookup(&goroutine);
	return call && call->joins ? call : 0;
}

/* A goroutine is in a call, and uses another session, or leaves it without a return: what it sends is no longer certain. */
static __always_inline void drop_go_call(u64 task, struct tls_session_key *goroutine, struct tls_call *open)
{
	struct tls_session_key key = {};
	struct tls_session *session;
	u32 writes = open->writes;

	name_session(&key, task, open->session);
	go_calls.delete(goroutine);
	session = tls_sessions.lookup(&key);
	if (!session || writes == GO_SHAKES)
		return;
	session->missed = 1;
	leave_session(&key, session, writes);
}

/* The call that a goroutine is in; 0: none, or one for another session, which then is dropped. */
static __always_inline struct tls_call *open_go_call(u64 task, struct tls_session_key *goroutine, u64 session)
{
	struct tls_call *open = tls_call_of(task);

	if (open) { /* of a library, which has called the goroutine */
		miss_call(task, open->session);
		tls_calls.delete(&task);
	}
	open = go_calls.lookup(goroutine);
	if (open && open->session != session) {
		drop_go_call(task, goroutine, open);
		return 0;
	}
	return open;
}

/*
 * Returns whether a call begins here. A session knows who is in a call of it. If that one is not found among the calls any more,
 * or is another goroutine, then a call was missed or two overlap, and in which order they come is not certain.
 */
static __always_inline int begin_go_call(struct pt_regs *ctx, u64 task, struct tls_call *call, u32 writes)
{
	struct tls_session_key goroutine = {}, key = {};
	struct tls_session *session;
	struct tls_call *open;
	u64 upper_end = 0;
	int fits;

	if (!is_watched(task))
		return 0;
	call->goroutine = plain(ctx->r14);
	call->session = plain(ctx->ax);
	call->buffer = plain(ctx->bx);
	call->writes = writes;
	call->began_ns = bpf_ktime_get_ns();
	call->joins = goroutine_in_slot(task) == call->goroutine;
	fits = !read_user(&upper_end, sizeof(upper_end), (void *)(call->goroutine + STACK_UPPER_END));
	call->stack = upper_end - plain(ctx->sp);
	name_session(&goroutine, task, call->goroutine);
	name_session(&key, task, call->session);
	open = open_go_call(task, &goroutine, call->session);
	if (open && open->writes == writes && open->stack == call->stack)
		return 0;
	session = session_of(&key, call->began_ns);
	if (!session)
		return 0;
	fits = fits && !go_calls.update(&goroutine, call);
	if (!fits || open || (writes != GO_SHAKES && session->open[writes & 1]))
		session->missed = 1;
	if (fits && writes != GO_SHAKES)
		session->open[writes & 1] = call->goroutine;
	return fits && !session->ended;
}

int go_read(struct pt_regs *ctx)
{
	struct tls_call call = {};

	begin_go_call(ctx, plain(bpf_get_current_task()), &call, 0);
	return 0;
}

/* Go on with what a call has come to. No library's call is open in this thread: see open_go_call(). */
static __always_inline void take_go_call(struct pt_regs *ctx, u64 task, struct tls_call *call)
{
	call->thread_start_ns = thread_start(task);
	if (!tls_calls.update(&task, call)) {
		tls_continuations.call(ctx, TLS_TAKEN);
		tls_calls.delete(&task);
	} else {
		count_loss(TLS_CALLS_WITHOUT_ROOM, 1);
	}
	miss_call(task, call->session);
}

int go_write(struct pt_regs *ctx)
{
	u64 task = plain(bpf_get_current_task());
	struct tls_call call = {.bytes = plain(ctx->cx)};

	if (begin_go_call(ctx, task, &call, 1) && call.bytes - 1 < MOST_CALL_BYTES)
		take_go_call(ctx, task, &call);
	return 0;
}

/* A call that wrote or shook hands says which socket the session has. What was not written breaks the session. */
static __always_inline void end_go_write(u64 task, struct tls_call *call, u64 written)
{
	struct tls_session_key key = {};
	struct tls_session *session;

	name_session(&key, task, call->session);
	session = tls_sessions.lookup(&key);
	if (!session)
		return;
	join_session(session, call);
	if (call->writes == GO_SHAKES)
		return;
	if (written != call->bytes) {
		session->missed = 1;
		if (!session->ended && !session->http2)
			tell_session_end(&key, session, task);
	}
	leave_session(&key, session, 1);
}

/* Where Read, Write or a handshake executes `ret`. */
int go_returned(struct pt_regs *ctx)
{
	u64 task = plain(bpf_get_current_task()), upper_end = 0, result = plain(ctx->ax);
	struct tls_session_key key = {};
	struct tls_session *session;
	struct tls_call *open, call;
	s64 above;

	name_session(&key, task, plain(ctx->r14));
	open = go_calls.lookup(&key);
	if (!open)
		return 0;
	if (read_user(&upper_end, sizeof(upper_end), (void *)(key.session + STACK_UPPER_END))) {
		drop_go_call(task, &key, open);
		return 0;
	}
	above = open->stack - (upper_end - plain(ctx->sp));
	if (above < 0) /* a handshake within this call */
		return 0;
	if (above > 0) { /* a call around one that never returned */
		drop_go_call(task, &key, open);
		return 0;
	}
	call = *open;
	go_calls.delete(&key);
	if (call.writes) {
		end_go_write(task, &call, result);
		return 0;
	}
	if (result - 1 < MOST_CALL_BYTES) {
		call.bytes = result;
		take_go_call(ctx, task, &call);
	}
	name_session(&key, task, call.session);
	session = tls_sessions.lookup(&key);
	if (session) {
		join_session(session, &call);
		leave_session(&key, session, 0);
	}
	return 0;
}

/* clientHandshake and serverHandshake: a new session begins, perhaps where one was that nobody has closed. */
int go_shakes(struct pt_regs *ctx)
{
	u64 task = plain(bpf_get_current_task());
	struct tls_session_key goroutine = {}, key = {};
	struct tls_session *session;
	struct tls_call *open, call = {};

	name_session(&key, task, plain(ctx->ax));
	name_session(&goroutine, task, plain(ctx->r14));
	session = tls_sessions.lookup(&key);
	open = open_go_call(task, &goroutine, key.session);
	if (open) { /* the prologue again; or within a call: the first one of the session, or it shakes hands anew */
		if (session && session->born_ns != open->began_ns)
			session->missed = 1;
		return 0;
	}
	if (session) {
		tell_session_end(&key, session, task);
		forget_http2_inside(&key);
		tls_sessions.delete(&key);
	}
	begin_go_call(ctx, task, &call, GO_SHAKES);
	return 0;
}

/* Close, while another goroutine may be in a call of the session. */
int go_closed(struct pt_regs *ctx)
{
	u64 task = plain(bpf_get_current_task());
	struct tls_session_key goroutine = {}, key = {};
	struct tls_session *session;

	name_session(&key, task, plain(ctx->ax));
	name_session(&goroutine, task, plain(ctx->r14));
	open_go_call(task, &goroutine, key.session);
	session = tls_sessions.lookup(&key);
	if (!session || session->ended)
		return 0;
	tell_session_end(&key, session, task);
	session->ended = 1;
	if (session->open[0] || session->open[1])
		return 0;
	forget_http2_inside(&key);
	tls_sessions.delete(&key);
	return 0;
}

/* panic() and runtime.Goexit(): the goroutine leaves what it is in, and its g may become another one's. */
int go_left(struct pt_regs *ctx)
{
	u64 task = plain(bpf_get_current_task());
	struct tls_session_key goroutine = {};
	struct tls_call *open;

	name_session(&goroutine, task, plain(ctx->r14));
	open = go_calls.lookup(&goroutine);
	if (open)
		drop_go_call(task, &goroutine, open);
	return 0;
}
#elif defined(DECRYPT)
static __always_inline struct tls_call *goroutine_call(u64 task)
{
	return 0;
}
#endif
