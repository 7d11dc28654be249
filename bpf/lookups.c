/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Names that programs look up in their C library, from uprobes on getaddrinfo(3) and gethostbyname(3): what was asked for before
 * the search list came in, what came of it, and look-ups that never reach the wire. Compiled only with --lookups, because a
 * uprobe is a breakpoint in the watched programs.
 *
 * The library asks in the calling thread, so whoever sends a DNS query while its thread is in such a function sends it for
 * that look-up: dns.c asks for it here.
 */

#ifdef LOOKUPS
struct open_lookup {
	u64 thread_start_ns; /* task_struct.start_boottime of the thread: addresses are reused */
	u64 stack;           /* the stack pointer as it is when the function has returned */
	u64 name;            /* where the arguments are in the process */
	u64 answer;
	u64 error;
	struct lookup_record record;
};
_Static_assert(__builtin_offsetof(struct open_lookup, record) == OPEN_LOOKUP_HEAD_BYTES, "open_lookup");

#define CANONICAL_BYTES 16 /* a numeric IPv4 address and its NUL */
#define EACH_ANSWER 3      /* getaddrinfo() tells an address for each type of socket */
#define ERANGE 34

/* Of struct addrinfo and struct hostent; glibc and musl have the same. */
struct address_information {
	int flags, family, socktype, protocol;
	u32 addrlen, pad;
	u64 addr, canonname, next;
};
struct host_entry {
	u64 name, aliases;
	int family, length;
	u64 addresses;
};
struct socket_address {
	u16 family, port;
	u32 ipv4; /* or the flow label */
	u64 ipv6[2];
};

/*
 * By thread, in the elements of which records are made: a program of a uprobe may be interrupted by another task on its CPU,
 * so nothing of it may lie in memory of the CPU. No other thread writes to its element.
 */
BPF_HASH(open_lookups, u64, struct open_lookup, 4096);
BPF_ARRAY(no_lookup, struct open_lookup, 1); /* zero: the stack has no room for it */

/* The look-up that a thread is in. */
static __always_inline struct open_lookup *lookup_of(u64 task)
{
	struct open_lookup *open = open_lookups.lookup(&task);

	return open && open->thread_start_ns == thread_start(task) ? open : 0;
}

/* Its page may not be there yet when the look-up begins: call this again where it is told. */
static __always_inline void read_name(struct open_lookup *open)
{
	if (!open->record.name[0])
		read_user_string(open->record.name, sizeof(open->record.name), (void *)open->name);
}

/*
 * Whether it is a numeric address, which needs nobody to look it up: digits and dots, or with a colon among its first five
 * characters. Most calls are of this kind.
 */
static __always_inline int is_numeric(const char *name)
{
	int at, ended = 0, other = 0, colon = 0;

#pragma clang loop unroll(disable)
	for (at = 0; at < CANONICAL_BYTES; at++) {
		u8 character = name[at];

		ended |= !character;
		other |= !ended & !((u8)(character - '0') < 10) & (character != '.');
		colon |= !ended & (at < 5) & (character == ':');
	}
	return colon | (ended & !other);
}

/*
 * The record leaves, or is only counted where too many come; one whose queries were handed on never is. `end` is LOOKUP_*.
 * Times of look-ups that did not return say nothing.
 */
static __always_inline void tell_lookup(void *ctx, struct open_lookup *open, int end)
{
	struct lookup_record *record = &open->record;
	u64 now_ns = bpf_ktime_get_ns();

	read_name(open);
	if (is_numeric(record->name))
		return;
	record->end = end;
	record->lasted_ns = now_ns - record->time_ns;
	if (!record->listed && !may_list(DUE_LOOKUPS, now_ns)) {
		count_loss(LOOKUPS_UNLISTED, 1);
		return;
	}
	spill_if_refused(lookup_events.perf_submit(ctx, record, sizeof(*record)), LOST_LOOKUP_EVENTS, record, sizeof(*record));
}

/* Whether the library itself uses one of these functions for another, by a call or by a jump: it is the same look-up. */
static __always_inline int is_within(struct open_lookup *open, int function, u64 name, u64 stack)
{
#ifdef LOOKUPS_WITHOUT_RETURNS /* nobody knows whether the other has returned: one of those that it may use, further in */
	return open->record.function < function && open->name == name && stack <= open->stack;
#else
	return stack < open->stack || (stack == open->stack && open->record.function != function);
#endif
}

static __always_inline void begin_lookup(struct pt_regs *ctx, int function, u64 name, u64 answer, u64 error)
{
	u64 task = plain(bpf_get_current_task()), stack = plain(PT_REGS_SP(ctx)) + RETURN_ADDRESS_BYTES;
	struct open_lookup *open = open_lookups.lookup(&task), *nothing;
	struct process_id owner = {};
	u32 netns, thread = 0;
	int only = 0;

	if (!name) /* getaddrinfo() for a socket that will listen */
		return;
	if (open && open->thread_start_ns == thread_start(task)) {
		if (is_within(open, function, name, stack))
			return;
#ifndef LOOKUPS_WITHOUT_RETURNS
		tell_lookup(ctx, open, LOOKUP_ABANDONED);
#endif
	}
	identify(&owner, (void *)task);
	netns = netns_of_task(task);
	if (!netns_in_scope(netns) || !process_in_scope(&owner)) {
		open_lookups.delete(&task);
		return;
	}
	nothing = no_lookup.lookup(&only);
	if (!nothing)
		return;
	open_lookups.update(&task, nothing);
	open = open_lookups.lookup(&task);
	if (!open) {
		count_loss(LOOKUPS_WITHOUT_ROOM, 1);
		return;
	}
	READ(thread, task, OFFSET_task_struct_pid);
	open->thread_start_ns = thread_start(task);
	open->stack = stack;
	open->name = name;
	open->answer = answer;
	open->error = error;
	open->record.owner = owner;
	open->record.thread = thread;
	open->record.netns = netns;
	open->record.function = function;
	read_name(open);
	open->record.time_ns = bpf_ktime_get_ns();
#ifdef LOOKUPS_WITHOUT_RETURNS
	tell_lookup(ctx, open, LOOKUP_UNSEEN);
#endif
}

int lookup_getaddrinfo(struct pt_regs *ctx)
{
	begin_lookup(ctx, LOOKUP_GETADDRINFO, plain(PT_REGS_PARM1(ctx)), plain(PT_REGS_PARM4(ctx)), 0);
	return 0;
}

int lookup_gethostbyname(struct pt_regs *ctx)
{
	begin_lookup(ctx, LOOKUP_GETHOSTBYNAME, plain(PT_REGS_PARM1(ctx)), 0, 0);
	return 0;
}

int lookup_gethostbyname2(struct pt_regs *ctx)
{
	begin_lookup(ctx, LOOKUP_GETHOSTBYNAME2, plain(PT_REGS_PARM1(ctx)), 0, 0);
	return 0;
}

/* gethostbyname_r(name, ret, buffer, bytes, answer, error) */
int lookup_gethostbyname_r(struct pt_regs *ctx)
{
	begin_lookup(ctx, LOOKUP_GETHOSTBYNAME_R, plain(PT_REGS_PARM1(ctx)), plain(PT_REGS_PARM5(ctx)), plain(PT_REGS_PARM6(ctx)));
	return 0;
}

/* gethostbyname2_r(name, family, ret, buffer, bytes, answer, error) */
int lookup_gethostbyname2_r(struct pt_regs *ctx)
{
	u64 error = 0;

#if RETURN_ADDRESS_BYTES
	read_user(&error, sizeof(error), (void *)(plain(PT_REGS_SP(ctx)) + RETURN_ADDRESS_BYTES)); /* the seventh is on the stack */
#else
	error = plain(ctx->regs[6]);
#endif
	begin_lookup(ctx, LOOKUP_GETHOSTBYNAME2_R, plain(PT_REGS_PARM1(ctx)), plain(PT_REGS_PARM6(ctx)), error);
	return 0;
}

static __always_inline u64 *address_slot(struct lookup_record *record)
{
	u32 found = record->found;

	if (found >= LOOKUP_ADDRESSES) {
		record->found_more = 1;
		return 0;
	}
	return (u64 *)(record->addresses + found * ADDRESS_BYTES);
}

/* The list of getaddrinfo(), in which an address stands once for each type of socket, one after the other. */
static __always_inline void read_answers(struct lookup_record *record, u64 answer)
{
	struct address_information node;
	u64 at = 0, last[2] = {}, *slot;
	int number;

	read_user(&at, sizeof(at), (void *)answer);
#pragma clang loop unroll(disable)
	for (number = 0; number < LOOKUP_ADDRESSES * EACH_ANSWER + 1; number++) {
		struct socket_address address = {};
		u64 this[2];

		if (!at || read_user(&node, sizeof(node), (void *)at))
			break;
		at = node.next;
		if (node.family == AF_INET) {
			read_user(&address, 16, (void *)node.addr);
			this[0] = 0;
			this[1] = MAPPED(address.ipv4);
		} else if (node.family == AF_INET6) {
			read_user(&address, 24, (void *)node.addr);
			this[0] = address.ipv6[0];
			this[1] = address.ipv6[1];
		} else {
			continue;
		}
		if (this[0] == last[0] && this[1] == last[1])
			continue;
		slot = address_slot(record);
		if (!slot)
			break;
		slot[0] = last[0] = this[0];
		slot[1] = last[1] = this[1];
		record->found++;
	}
}

static __always_inline void read_host(struct lookup_record *record, u64 entry)
{
	struct host_entry host = {};
	int number;

	read_user(&host, sizeof(host), (void *)entry);
#pragma clang loop unroll(disable)
	for (number = 0; number < LOOKUP_ADDRESSES + 1; number++) {
		u64 at = 0, *slot;
		u32 ipv4 = 0;

		if (read_user(&at, sizeof(at), (void *)(host.addresses + number * sizeof(at))) || !at)
			break;
		slot = address_slot(record);
		if (!slot)
			break;
		if (host.family == AF_INET) {
			read_user(&ipv4, sizeof(ipv4), (void *)at);
			slot[0] = 0;
			slot[1] = MAPPED(ipv4);
		} else {
			read_user(slot, ADDRESS_BYTES, (void *)at);
		}
		record->found++;
	}
}

/* What a function that has returned says. */
static __always_inline void read_outcome(struct open_lookup *open, u64 returned)
{
	struct lookup_record *record = &open->record;
	u64 entry = returned;
	u32 error = 0;

	if (record->function == LOOKUP_GETADDRINFO) {
		record->result = (u32)returned;
		if (!record->result)
			read_answers(record, open->answer);
		return;
	}
	if (open->answer) {
		entry = 0;
		read_user(&entry, sizeof(entry), (void *)open->answer);
		read_user(&error, sizeof(error), (void *)open->error);
		if ((u32)returned == ERANGE)
			error = LOOKUP_NO_ROOM;
	}
	if (entry && error != LOOKUP_NO_ROOM) {
		record->result = 0;
		read_host(record, entry);
	} else {
		record->result = error ? error : LOOKUP_FAILED; /* gethostbyname() leaves it where only its thread finds it */
	}
}

/* Of all of these functions: the stack pointer says which one it is that returns. */
int lookup_returned(struct pt_regs *ctx)
{
	u64 task = plain(bpf_get_current_task());
	struct open_lookup *open = lookup_of(task);

	if (!open || plain(PT_REGS_SP(ctx)) < open->stack)
		return 0;
	if (plain(PT_REGS_SP(ctx)) == open->stack) {
		read_outcome(open, plain(PT_REGS_RC(ctx)));
		tell_lookup(ctx, open, LOOKUP_RETURNED);
	} else {
		tell_lookup(ctx, open, LOOKUP_ABANDONED);
	}
	open_lookups.delete(&task);
	return 0;
}

/* Call this where a thread ends. */
static __always_inline void lookup_thread_ended(void *ctx, void *thread)
{
	u64 task = (u64)thread;
	struct open_lookup *open = open_lookups.lookup(&task);

	if (!open)
		return;
#ifndef LOOKUPS_WITHOUT_RETURNS
	tell_lookup(ctx, open, LOOKUP_ABANDONED);
#endif
	open_lookups.delete(&task);
}

/*
 * Call this for each DNS message that leaves, before it is known whether it is handed on: the look-up that it belongs to.
 * A segment that TCP sends later, or again, comes where anybody may be running; one that its sender sends itself finds the
 * socket held. Where returns are not seen nobody knows whether the thread is in the look-up still.
 */
static __always_inline void find_lookup(void *sk, struct dns_packet *event)
{
#ifndef LOOKUPS_WITHOUT_RETURNS
	struct open_lookup *open = lookup_of(plain(bpf_get_current_task()));
	u32 held = 1;

	if (!open)
		return;
	if (event->protocol == IPPROTO_TCP)
		READ(held, sk, OFFSET_sock_sk_lock_owned);
	if (!held)
		return;
	open->record.queries++;
	event->lookup.time_ns = open->record.time_ns;
	event->lookup.thread = open->record.thread;
#endif
}

/*
 * And this once the process that asks is known, for a message that is handed on. Before the first of them the look-up's name
 * is told: a thread that has left the library by longjmp(3) may ask for anything, and only the name shows that.
 */
static __always_inline void keep_lookup(struct __sk_buff *skb, struct dns_packet *event)
{
	struct lookup_record *record;
	struct open_lookup *open;

	if (!event->lookup.time_ns)
		return;
	open = lookup_of(plain(bpf_get_current_task()));
	if (!open || open->record.owner.pid != event->owner.pid) {
		event->lookup.time_ns = 0;
		return;
	}
	record = &open->record;
	if (record->listed)
		return;
	record->listed = 1;
	read_name(open);
	spill_if_refused(lookup_events.perf_submit(skb, record, sizeof(*record)), LOST_LOOKUP_EVENTS, record, sizeof(*record));
}
#endif
