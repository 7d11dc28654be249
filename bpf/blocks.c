/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * --allow-cut: what nettop refuses or ends because its user told it to. Without the option none of this is compiled or loaded.
 *
 * cgroup/connect4, connect6, sendmsg4 and sendmsg6 on the root of cgroup2 run in the process that begins a connection, or
 * sends a datagram to an address that it names. They are the only programs of nettop that ever say no: once a look-up in the map `blocks`
 * has found an entry whose time is not over. Every other way returns the constant 1, "go on", and the first of them is taken by
 * all while there is no entry at all.
 *
 * A key names one process (with its start), one cgroup (by its id) or one address in one network namespace, whole. What is not in
 * the map is never refused, and of the host's process 1 nothing is. The time is compared here, so a block ends on time even if
 * nettop is stopped; and its links end with nettop.
 */
#ifdef CUT
#define BLOCKS 64
#define INIT 1

BPF_HASH(blocks, struct block_key, struct block, BLOCKS);
BPF_ARRAY(armed, u64, 1); /* BLOCKS_*: which kinds of keys there are */

/*
 * The only way to "no": what tests/live/test_blocks_pass.py reads from the instructions is that each comes right after the
 * counting.
 */
#define REFUSE_IF(found)                                                                                    \
	do {                                                                                                \
		if ((found) && (found)->until_ns > bpf_ktime_get_ns()) {                                    \
			__sync_fetch_and_add(&(found)->refused, 1);                                         \
			return 0;                                                                           \
		}                                                                                           \
	} while (0)

static u64 (*ancestor_cgroup)(int level) = (void *)BPF_FUNC_get_current_ancestor_cgroup_id;

static __always_inline int decide(struct bpf_sock_addr *ctx, u32 family)
{
	struct {
		struct bpf_sock *typed;
	} box = {};
	struct block_key key = {};
	u64 *address = (u64 *)key.address; /* aligned: see the struct */
	void *task, *leader = 0, *sk = 0;
	struct block *found;
	int only = 0, level;
	u64 *kinds = armed.lookup(&only);
	u64 kinds_now;
	u32 pid = 0;

	if (!kinds || !*kinds)
		return 1;
	kinds_now = *kinds;
	task = (void *)bpf_get_current_task();
	READ(pid, task, OFFSET_task_struct_tgid);
	if (pid == INIT)
		return 1;
	if (kinds_now & BLOCKS_PROCESS) {
		READ(leader, task, OFFSET_task_struct_group_leader);
		READ(key.id, leader, OFFSET_task_struct_start_boottime);
		key.kind = BLOCK_PROCESS;
		key.number = pid;
		found = blocks.lookup(&key);
		REFUSE_IF(found);
	}
	if (kinds_now & BLOCKS_REMOTE) {
		box.typed = ctx->sk;
		read_kernel(&sk, sizeof(sk), &box.typed);
		key.kind = BLOCK_REMOTE;
		key.number = netns_of(sk, UNTYPED);
		key.id = 0;
		if (family == AF_INET) {
			address[1] = MAPPED(ctx->user_ip4);
		} else {
			address[0] = (u64)ctx->user_ip6[1] << 32 | ctx->user_ip6[0];
			address[1] = (u64)ctx->user_ip6[3] << 32 | ctx->user_ip6[2];
		}
		found = blocks.lookup(&key);
		REFUSE_IF(found);
		address[0] = address[1] = 0;
	}
	if (kinds_now & BLOCKS_CGROUP) {
		key.kind = BLOCK_CGROUP;
		key.number = 0;
#pragma unroll
		for (level = 1; level <= CGROUP_LEVELS; level++) {
			if (kinds_now & BLOCKS_LEVEL << level) {
				key.id = ancestor_cgroup(level);
				found = blocks.lookup(&key);
				REFUSE_IF(found);
			}
		}
	}
	return 1;
}

int block_connect4(struct bpf_sock_addr *ctx)
{
	return decide(ctx, AF_INET);
}

int block_connect6(struct bpf_sock_addr *ctx)
{
	return decide(ctx, AF_INET6);
}

int block_sendmsg4(struct bpf_sock_addr *ctx)
{
	return decide(ctx, AF_INET);
}

int block_sendmsg6(struct bpf_sock_addr *ctx)
{
	return decide(ctx, AF_INET6);
}

#ifdef BTF_ID_bpf_sock_destroy /* Linux 6.5 and later */
/*
 * Goes through the TCP sockets of the network namespace that nettop is in, each locked, and ends the one that nettop has named in
 * `closing`. Its address alone would not do, because the kernel uses addresses again at once: the entry at that address must be the
 * one that nettop has told of. It is deleted when the connection ends, before the address can be used again.
 */
BPF_ARRAY(closing, struct closing, 1);
static int (*destroy)(void *sk) = (void *)BTF_ID_bpf_sock_destroy; /* a kfunc; nettop/kernel/compiled.py marks the call as that */

struct tcp_iterator_context {
	void *meta;
	void *sk;
	u32 uid;
};

int bpf_iter__tcp(struct tcp_iterator_context *ctx)
{
	void *sk = ctx->sk;
	struct socket_entry *entry;
	struct closing *wanted;
	u64 key = (u64)sk;
	int only = 0;
	u8 is_subflow = 0;

	if (!sk)
		return 0;
	wanted = closing.lookup(&only);
	if (!wanted || wanted->socket != key)
		return 0;
	entry = sockets.lookup(&key);
	if (!entry || entry->seen_ns != wanted->seen_ns)
		return 0;
#ifdef MASK_tcp_sock_is_mptcp
	READ(is_subflow, key, OFFSET_tcp_sock_is_mptcp);
	if (is_subflow & MASK_tcp_sock_is_mptcp) { /* the connection would live on, and hang */
		wanted->verdict = CLOSING_SUBFLOW;
		return 0;
	}
#endif
	wanted->verdict = destroy(sk) ? CLOSING_REFUSED : CLOSING_DONE;
	return 0;
}
#endif
#endif
