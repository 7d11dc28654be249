/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Constants, maps and helpers that every program below uses.
 *
 * nettop/kernel/compiler.py joins the .c files of this folder into one BCC program, this one first. OFFSET_* come from
 * the running kernel's BTF, SCOPE_* from the command line's scope, IS_DNS_PORT from the settings, IS_REDIS_PORT and its like from
 * nettop/protocols/table.py: all as -D.
 */
#include "abi.h"

#define TCP_ESTABLISHED 1 /* include/net/tcp_states.h */
#define TCP_SYN_SENT 2
#define TCP_SYN_RECV 3
#define TCP_FIN_WAIT1 4
#define TCP_FIN_WAIT2 5
#define TCP_CLOSE 7
#define TCP_CLOSE_WAIT 8
#define TCP_LAST_ACK 9
#define TCP_LISTEN 10
#define TCP_CLOSING 11
#define TCP_NEW_SYN_RECV 12
#define AF_INET 2
#define AF_INET6 10
#define E2BIG 7
#define ECONNABORTED 103 /* an administrator ended the connection */
#define DNS_HEADER_BYTES 12
#define IPPROTO_MPTCP 262
#define SOCK_SRC_PORT 44 /* offset of bpf_sock.src_port, include/uapi/linux/bpf.h: BCC would not load it as it is */
#define SOCK_DST_PORT 48 /* and of dst_port, in network order; to be loaded as 4 bytes */
#define SOCK_STREAM 1 /* include/linux/net.h */
#define SOCK_DGRAM 2
#define SOCK_DEAD_FLAG 1 /* 1 << SOCK_DEAD, enum sock_flags in include/net/sock.h */
#define SOCK_DONE_FLAG 2 /* 1 << SOCK_DONE */
#define PF_KTHREAD 0x00200000 /* include/linux/sched.h */

/*
 * The helpers by number: BCC takes a name like bpf_probe_read_kernel for bpf_probe_read unless it finds it in
 * /proc/kallsyms, where it looks as uid 0 only; and no cgroup program may call that.
 */
static int (*read_kernel)(void *to, __u32 bytes, const void *from) = (void *)BPF_FUNC_probe_read_kernel;
static int (*read_kernel_string)(void *to, __u32 bytes, const void *from) = (void *)BPF_FUNC_probe_read_kernel_str;
static int (*read_user)(void *to, __u32 bytes, const void *from) = (void *)BPF_FUNC_probe_read_user;
static int (*read_user_string)(void *to, __u32 bytes, const void *from) = (void *)BPF_FUNC_probe_read_user_str;

#define READ(destination, base, offset) read_kernel(&(destination), sizeof(destination), (char *)(base) + (offset))
/*
 * The same from a pointer whose type the kernel knows, without a helper, at a tenth of the cost. In assembly, because BCC
 * would make a helper's call of what it takes for an access through a foreign pointer.
 */
#define LOAD(destination, base, offset)                                                                     \
	do {                                                                                                \
		u64 loaded;                                                                                 \
		if (sizeof(destination) == 8)                                                               \
			asm volatile("%0 = *(u64 *)(%1 + %2)" : "=r"(loaded) : "r"(base), "i"(offset));     \
		else if (sizeof(destination) == 4)                                                          \
			asm volatile("%0 = *(u32 *)(%1 + %2)" : "=r"(loaded) : "r"(base), "i"(offset));     \
		else if (sizeof(destination) == 2)                                                          \
			asm volatile("%0 = *(u16 *)(%1 + %2)" : "=r"(loaded) : "r"(base), "i"(offset));     \
		else                                                                                        \
			asm volatile("%0 = *(u8 *)(%1 + %2)" : "=r"(loaded) : "r"(base), "i"(offset));      \
		destination = (typeof(destination))loaded;                                                  \
	} while (0)

/* One or the other, for functions that serve both kinds of pointer: `typed` is a constant. */
#define UNTYPED 0
#define TYPED 1
#define FETCH(destination, base, offset)                                                                    \
	do {                                                                                                \
		if (typed)                                                                                  \
			LOAD(destination, base, offset);                                                    \
		else                                                                                        \
			READ(destination, base, offset);                                                    \
	} while (0)

/*
 * The value stays, but the verifier no longer knows which it may be, so that it does not follow what comes after apart for
 * each of them. `any` is one that it does not know.
 */
#define FORGET(value, any) asm volatile("%0 ^= %1\n%0 ^= %1" : "+r"(value) : "r"(any))

#define HOST_ORDER(port) ((__u16)__builtin_bswap16((__u16)(port)))

BPF_HASH(sockets, u64, struct socket_entry, 1); /* how many it holds is said when it is loaded */
BPF_ARRAY(losses, u64, LOSS_COUNTERS);
/* Written by nettop: see the indices in abi.h. */
BPF_ARRAY(controls, u64, CONTROLS);
BPF_PERF_OUTPUT(tcp_events);
BPF_PERF_OUTPUT(udp_events);
BPF_PERF_OUTPUT(dns_events);
BPF_PERF_OUTPUT(process_events);
#ifdef REQUESTS
BPF_PERF_OUTPUT(http_events);
#endif
#ifdef LOOKUPS
BPF_PERF_OUTPUT(lookup_events);
#endif

#ifdef SCOPE_NETNS
BPF_HASH(scope_netns, u32, u8, SCOPE_ENTRIES);
#endif
#ifdef SCOPE_PID
BPF_HASH(scope_pid, u32, u8, SCOPE_ENTRIES);
#endif
#ifdef SCOPE_COMM
struct comm_key {
	char comm[COMM_BYTES];
};
BPF_HASH(scope_comm, struct comm_key, u8, SCOPE_ENTRIES);
#endif
#ifdef SCOPE_CGROUP
struct cgroup_key {
	u64 id;
	u64 v1; /* 0: of cgroup2; 1: of the hierarchy of cgroup v1 that has the controller pids */
};
struct cgroup_name {
	char name[CGROUP_NAME_BYTES];
};
BPF_HASH(scope_cgroup_name, struct cgroup_name, u8, SCOPE_CGROUP_NAMES);
/*
 * Both maps say what for: IN_UNIT, IN_CONTAINER or both.
 * The cgroups of these names, and all below them: nettop enters those that are there when it starts, and cgroup_made() what
 * comes later. Nothing says here that one is gone, so the one that was looked up longest ago gives way.
 */
BPF_TABLE("lru_hash", struct cgroup_key, u8, scope_cgroup, 16384);
/* The processes that were seen in them, with their start_boot_ns: a socket may outlive the process that owned it. */
BPF_TABLE("lru_hash", u32, u64, scope_member, 65536);
#endif
#if defined(SCOPE_PID) || defined(SCOPE_COMM) || defined(SCOPE_CGROUP)
#define SCOPE_BY_PROCESS
#endif

/* Where the parts of a packet begin. */
struct packet {
	u32 l4_offset;
	u32 version;
	u8 protocol;
};

/*
 * skb->sk is a typed pointer: through skb->cb it becomes the plain address that keys the map of sockets. The kernel puts
 * the packet's own cb back after the program (__bpf_prog_run_save_cb(), include/linux/filter.h), and a helper that
 * copies the pointer would cost every packet 25 ns.
 */
static __always_inline void *packet_socket(struct __sk_buff *skb)
{
	void *plain;

	/* the compiler would reckon with the address of cb, which the verifier does not allow */
	asm volatile("*(u64 *)(%1 + %2) = %3\n%0 = *(u64 *)(%1 + %2)"
		     : "=&r"(plain)
		     : "r"(skb), "i"(__builtin_offsetof(struct __sk_buff, cb)), "r"(skb->sk)
		     : "memory");
	return plain;
}
/* Where a datagram goes to or comes from, IPv4 as IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2). */
struct far_end {
	u64 address[2];
	u16 port;
};

/* The second half of an IPv4-mapped IPv6 address: 00 00 ff ff, and the address. */
#define MAPPED(ipv4) ((u64)(ipv4) << 32 | 0xffff0000)

static __always_inline void count_loss(int which, u64 amount)
{
	u64 *counter = losses.lookup(&which);

	if (counter)
		__sync_fetch_and_add(counter, amount);
}

static __always_inline u64 control(int which)
{
	u64 *value = controls.lookup(&which);

	return value ? *value : 0;
}

static __always_inline u64 cgroup_id(void *cgroup)
{
	void *node = 0;
	u64 id = 0;

	READ(node, cgroup, OFFSET_cgroup_kn);
	READ(id, node, OFFSET_kernfs_node_id);
	return id;
}

/* In cgroup2, whether it is mounted or not. */
static __always_inline u64 cgroup_of(void *task)
{
	void *set = 0, *cgroup = 0;

	READ(set, task, OFFSET_task_struct_cgroups);
	READ(cgroup, set, OFFSET_css_set_dfl_cgrp);
	return cgroup_id(cgroup);
}

/* Where the controller pids is, which every container's runtime and systemd use. */
static __always_inline u64 cgroup_v1_of(void *task)
{
#ifdef NUMBER_pids_cgrp_id /* CONFIG_CGROUP_PIDS */
	void *set = 0, *state = 0, *cgroup = 0;

	READ(set, task, OFFSET_task_struct_cgroups);
	READ(state, set, OFFSET_css_set_subsys + NUMBER_pids_cgrp_id * sizeof(state));
	READ(cgroup, state, OFFSET_cgroup_subsys_state_cgroup);
	return cgroup_id(cgroup);
#else
	return 0;
#endif
}

#ifdef SCOPE_CGROUP
static __always_inline u8 watched_as(u64 id, u64 v1)
{
	struct cgroup_key key = {.id = id, .v1 = v1};
	u8 *kinds = scope_cgroup.lookup(&key);

	return kinds ? *kinds : 0;
}

/* Whether a process is in scope is found out where it is identified, from its task, and asked later, when that may be gone. */
static __always_inline void note_member(struct process_id *id, void *leader)
{
	u64 start_boot_ns = id->start_boot_ns, wanted = control(SCOPE_CGROUPS), *known;
	u32 pid = id->pid;
	u64 kinds = watched_as(cgroup_of(leader), 0) | watched_as(cgroup_v1_of(leader), 1);

	known = scope_member.lookup(&pid);
	if ((kinds & wanted) == wanted) {
		if (!known || *known != start_boot_ns)
			scope_member.update(&pid, &start_boot_ns);
	} else if (known) {
		scope_member.delete(&pid);
	}
}
#endif

static __always_inline void identify(struct process_id *id, void *task)
{
	void *leader = 0, *credentials = 0;

	READ(leader, task, OFFSET_task_struct_group_leader);
	READ(credentials, task, OFFSET_task_struct_cred);
	READ(id->pid, task, OFFSET_task_struct_tgid);
	READ(id->uid, credentials, OFFSET_cred_uid);
	READ(id->start_boot_ns, leader, OFFSET_task_struct_start_boottime);
	/* To its NUL only: before Linux 5.17 what follows is the end of a longer name that the task had before. */
	__builtin_memset(id->comm, 0, COMM_BYTES);
	read_kernel_string(id->comm, COMM_BYTES, (char *)leader + OFFSET_task_struct_comm);
#ifdef SCOPE_CGROUP
	note_member(id, leader);
#endif
}

/* By way of the task, because bpf_get_current_pid_tgid() is refused in cgroup_skb programs before Linux 6.10. */
static __always_inline void identify_current(struct process_id *id)
{
	identify(id, (void *)bpf_get_current_task());
}

/*
 * A kernel thread closes and connects sockets on behalf of others: of MPTCP, of what is closed from a work queue. It owns
 * what it makes itself, as NFS does.
 */
static __always_inline int is_kernel_thread(void *task)
{
	u32 flags = 0;

	READ(flags, task, OFFSET_task_struct_flags);
	return flags & PF_KTHREAD;
}

#define DESCRIPTORS_AT_ONCE 8
#define DESCRIPTORS_LOOKED_AT 1024 /* the soft limit that processes start with */
#define HOLDS_NOT 0
#define HOLDS 1
#define HOLDS_PERHAPS 2

/*
 * Whether a socket is among the open files of a task. One that holds more of them than are looked at holds it perhaps. The
 * descriptors of a step are compared without a branch each: the verifier follows every branch, when nettop starts. `slots` is
 * room for DESCRIPTORS_AT_ONCE of them.
 */
static __always_inline int holds_by(void *task, void *sk, u64 *slots)
{
	void *socket = 0, *file = 0, *files = 0, *table = 0, *descriptors = 0;
	u64 differs, differ = ~0ULL;
	u32 room = 0, at, slot;

	READ(socket, sk, OFFSET_sock_sk_socket);
	READ(file, socket, OFFSET_socket_file);
	READ(files, task, OFFSET_task_struct_files);
	if (!files) /* it exits, and has let go of all it held */
		return HOLDS_NOT;
	READ(table, files, OFFSET_files_struct_fdt);
	READ(room, table, OFFSET_fdtable_max_fds);
	READ(descriptors, table, OFFSET_fdtable_fd);
	if (!file || !descriptors)
		return HOLDS_PERHAPS;
#pragma clang loop unroll(disable)
	for (at = 0; at < DESCRIPTORS_LOOKED_AT && at < room && differ >> 63; at += DESCRIPTORS_AT_ONCE) {
		read_kernel(slots, DESCRIPTORS_AT_ONCE * sizeof(*slots), (char *)descriptors + at * sizeof(*slots));
#pragma clang loop unroll(full)
		for (slot = 0; slot < DESCRIPTORS_AT_ONCE; slot++) {
			differs = slots[slot] ^ (u64)file;
			differ &= differs | -differs; /* the top bit is set unless they are equal */
		}
	}
	if (!(differ >> 63))
		return HOLDS;
	return at >= room ? HOLDS_NOT : HOLDS_PERHAPS;
}

/*
 * The stack has no room for descriptors. Before Linux 6.1 a packet may interrupt a program on its CPU and run it for another
 * socket, which then takes the second one.
 */
#define NESTED 2
/*
 * One of so many things in a row, the index of which may be on the stack: Linux 5.10 does not know there how large it is, so
 * that is said where the address is made.
 */
#define ONE_OF(pointer, things, index)                                                                                    \
	do {                                                                                                              \
		u64 place = index;                                                                                        \
		asm volatile("%0 &= 1\n%0 *= %2\n%0 += %1" : "+r"(place) : "r"(things), "i"(sizeof((things)[0])));         \
		pointer = (void *)place;                                                                                  \
	} while (0)
_Static_assert(NESTED == 2, "ONE_OF");
struct descriptors_at_hand {
	u64 taken;
	u64 slots[NESTED][DESCRIPTORS_AT_ONCE];
};
BPF_PERCPU_ARRAY(descriptors_at_hand, struct descriptors_at_hand, 1);

static __always_inline int holds(void *task, void *sk)
{
	struct descriptors_at_hand *at_hand;
	int only = 0, held;
	u64 taken, *slots;

	at_hand = descriptors_at_hand.lookup(&only);
	if (!at_hand)
		return HOLDS_PERHAPS;
	taken = *(volatile u64 *)&at_hand->taken;
	if (taken >= NESTED)
		return HOLDS_PERHAPS;
	*(volatile u64 *)&at_hand->taken = taken + 1;
	ONE_OF(slots, at_hand->slots, taken);
	held = holds_by(task, sk, slots);
	*(volatile u64 *)&at_hand->taken = taken;
	return held;
}

/* Whether only one table of open files has the socket. A thread that uses it makes the answer no, for as long as it does. */
static __always_inline int is_held_once(void *sk)
{
	void *socket = 0, *file = 0;
	s64 references = -1;

	READ(socket, sk, OFFSET_sock_sk_socket);
	READ(file, socket, OFFSET_socket_file);
#ifdef OFFSET_file_f_ref /* since Linux 6.13; include/linux/file_ref.h counts from 0 */
	READ(references, file, OFFSET_file_f_ref);
	return file && references == 0;
#else
	READ(references, file, OFFSET_file_f_count);
	return file && references == 1;
#endif
}

static __always_inline u32 netns_of(void *sk, int typed)
{
	void *net = 0;
	u32 inode = 0;

	FETCH(net, sk, OFFSET_sock_common_skc_net);
	FETCH(inode, net, OFFSET_net_ns_inum);
	return inode;
}

/* The far end of a connected socket, as its packets have it: IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2) is IPv4. */
static __always_inline u8 read_far_address(u8 *address, void *sk)
{
	u8 ip_version = 4;
	u32 words[4] = {};
	u16 family = 0;

	LOAD(family, sk, OFFSET_sock_common_skc_family);
	if (family == AF_INET6)
		READ(words, sk, OFFSET_sock_common_skc_v6_daddr);
	if (family == AF_INET) {
		LOAD(words[0], sk, OFFSET_sock_common_skc_daddr);
	} else if (!words[0] && !words[1] && words[2] == __builtin_bswap32(0xffff)) {
		words[0] = words[3];
		words[2] = words[3] = 0;
	} else {
		ip_version = 6;
	}
	__builtin_memcpy(address, words, sizeof(words));
	return ip_version;
}

static __always_inline int netns_in_scope(u32 netns)
{
#ifdef SCOPE_NETNS
	return scope_netns.lookup(&netns) != 0;
#else
	return 1;
#endif
}

static __always_inline int process_in_scope(struct process_id *id)
{
#ifdef SCOPE_PID
	u32 pid = id->pid; /* as a copy: 5.10 refuses what an iterator is given as a key */

	if (!scope_pid.lookup(&pid))
		return 0;
#endif
#ifdef SCOPE_COMM
	struct comm_key key;

	__builtin_memcpy(key.comm, id->comm, COMM_BYTES);
	if (!scope_comm.lookup(&key))
		return 0;
#endif
#ifdef SCOPE_CGROUP
	u32 member = id->pid;
	u64 *start_boot_ns = scope_member.lookup(&member);

	if (!start_boot_ns || *start_boot_ns != id->start_boot_ns)
		return 0;
#endif
	return 1;
}

/* An owner who is not known yet may still turn out to be in scope, except at the end of the socket. */
static __always_inline int owner_in_scope(struct socket_entry *entry, int at_end)
{
#ifdef SCOPE_BY_PROCESS
	if (entry->owner_certainty == OWNER_UNKNOWN)
		return !at_end || entry->flags & SOCKET_INBOUND;
	return process_in_scope(&entry->owner);
#else
	return 1;
#endif
}

static __always_inline void own(struct socket_entry *entry, struct process_id *owner, u8 certainty)
{
	entry->owner = *owner;
	entry->owner_certainty = certainty;
}

/*
 * Read as late as can be, at the first report: the local end is chosen after TCP_SYN_SENT, and both are still there at
 * TCP_CLOSE (inet_sport, not skc_num, which is 0 by then). local_port 0 says that they have not been read.
 */
static __always_inline void read_local_address(struct socket_entry *entry, void *sk, int typed)
{
	u16 port = 0;

	FETCH(entry->family, sk, OFFSET_sock_common_skc_family);
	FETCH(port, sk, OFFSET_inet_sock_inet_sport);
	entry->local_port = HOST_ORDER(port);
	if (entry->family == AF_INET)
		FETCH(*(u32 *)entry->local_address, sk, OFFSET_sock_common_skc_rcv_saddr);
	else
		READ(entry->local_address, sk, OFFSET_sock_common_skc_v6_rcv_saddr);
}

static __always_inline void read_addresses(struct socket_entry *entry, void *sk, int typed)
{
	u16 port = 0;

	read_local_address(entry, sk, typed);
	FETCH(port, sk, OFFSET_sock_common_skc_dport);
	entry->remote_port = HOST_ORDER(port);
	if (entry->family == AF_INET)
		FETCH(*(u32 *)entry->remote_address, sk, OFFSET_sock_common_skc_daddr);
	else
		READ(entry->remote_address, sk, OFFSET_sock_common_skc_v6_daddr);
}

/* As what the packets of a socket are counted: IPPROTO_TCP, whose socket does that itself, IPPROTO_UDP, or PROTOCOL_OTHER. */
static __always_inline u8 counted_as(u32 type, u32 protocol)
{
	if (type == SOCK_STREAM && (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP))
		return IPPROTO_TCP;
	return type == SOCK_DGRAM && protocol == IPPROTO_UDP ? IPPROTO_UDP : PROTOCOL_OTHER;
}

/*
 * Payload that TCP carried over the life of the socket: exact, whichever call moved it (splice and sendfile too). Returns
 * whether the far end's FIN has come.
 */
static __always_inline int read_tcp_bytes(void *sk, u64 *tx, u64 *rx, int typed)
{
	u64 sent = 0, resent = 0, received = 0;
	unsigned long flags = 0;

	FETCH(sent, sk, OFFSET_tcp_sock_bytes_sent);
	FETCH(resent, sk, OFFSET_tcp_sock_bytes_retrans);
	FETCH(received, sk, OFFSET_tcp_sock_bytes_received);
	FETCH(flags, sk, OFFSET_sock_common_skc_flags);
	if (flags & SOCK_DONE_FLAG && received)
		received--; /* the peer's FIN takes a sequence number and is counted as a byte */
	*tx = sent - resent;
	*rx = received;
	return (flags & SOCK_DONE_FLAG) != 0;
}

/* Segments, also those without payload, over the life of the socket, modulo 2^32. */
static __always_inline void read_tcp_packets(void *sk, u32 *tx, u32 *rx, int typed)
{
	FETCH(*tx, sk, OFFSET_tcp_sock_segs_out);
	FETCH(*rx, sk, OFFSET_tcp_sock_segs_in);
}

/*
 * What a socket has refused, mostly because there was no room: datagrams, as in /proc/net/udp and raw, column drops. A
 * listener: what /proc/net/netstat adds up over all of them, ListenDrops.
 */
static __always_inline u32 read_dropped(void *sk)
{
	u32 dropped = 0;
#ifdef OFFSET_sock_sk_drop_counters /* from Linux 6.18 on, so that CPUs in a flood do not share a cache line */
	void *counters = 0;
	u32 of_other_nodes = 0;

	READ(counters, sk, OFFSET_sock_sk_drop_counters);
	if (counters) {
		READ(dropped, counters, OFFSET_numa_drop_counters_drops0);
		READ(of_other_nodes, counters, OFFSET_numa_drop_counters_drops1);
		return dropped + of_other_nodes;
	}
#endif
	READ(dropped, sk, OFFSET_sock_sk_drops);
	return dropped;
}

/* The counters of a socket that is not TCP's, but for what it dropped, and its local end; the entry is in the record already. */
static __always_inline void read_counted(struct socket_record *record, void *sk)
{
	read_local_address(&record->entry, sk, UNTYPED);
	record->tx_bytes = record->entry.kept_tx_bytes;
	record->rx_bytes = record->entry.kept_rx_bytes;
	record->tx_packets = record->entry.kept_tx_packets;
	record->rx_packets = record->entry.kept_rx_packets;
}

/* What a listener has instead of counters. */
static __always_inline void read_listener(struct socket_record *record, void *sk, u32 kept_dropped)
{
	u32 limit = 0;

	READ(record->listener_queue, sk, OFFSET_sock_sk_ack_backlog);
	READ(limit, sk, OFFSET_sock_sk_max_ack_backlog);
	record->listener_queue_limit = limit;
	READ(record->listener_syn_queue, sk, OFFSET_inet_connection_sock_icsk_accept_queue_qlen);
	READ(record->listener_group, sk, OFFSET_sock_sk_reuseport_cb);
	record->listener_kept_dropped = kept_dropped;
	record->rx_dropped = read_dropped(sk) - kept_dropped;
}

static __always_inline void read_tcp_counters(struct socket_record *record, void *sk, int typed)
{
	u32 sent = 0, received = 0;

	record->peer_closed = read_tcp_bytes(sk, &record->tx_bytes, &record->rx_bytes, typed);
	read_tcp_packets(sk, &sent, &received, typed);
	record->tx_packets = (u32)(sent - record->entry.kept_tx_packets);
	record->rx_packets = (u32)(received - record->entry.kept_rx_packets);
	FETCH(record->srtt_us8, sk, OFFSET_tcp_sock_srtt_us);
	FETCH(record->retransmits, sk, OFFSET_tcp_sock_total_retrans);
	FETCH(record->error, sk, OFFSET_sock_sk_err);
}
