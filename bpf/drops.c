/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Packets that the kernel drops, with its reason, resets, and ICMP errors: counted here, by socket or else by far end, and
 * read once a tick. The tracepoints fire only where something goes wrong, in any context: `current` is nobody's owner.
 *
 * kfree_skb is for packets that are dropped; those that are used up leave by consume_skb. A few reasons are no drops all
 * the same: see IS_NO_DROP in nettop/kernel/reasons.py. Others are none of certain packets: see is_probe() and is_copied().
 */

#define ETH_P_IP_NETWORK_ORDER 0x0008 /* include/uapi/linux/if_ether.h */
#define ETH_P_IPV6_NETWORK_ORDER 0xdd86
#define IPPROTO_ICMP 1 /* include/uapi/linux/in.h */
#define IPPROTO_ICMPV6 58
#define TCP_FIN_SYN_RST 7

/* Apart, so that a flood from many addresses takes no room from what processes own. */
BPF_HASH(drops, struct drop_key, struct drop_count, 4096);
BPF_HASH(owner_drops, struct drop_key, struct drop_count, 1024);
BPF_HASH(strays, struct stray_key, u64, 1024);

/* Connections that their owners ended without a FIN: the reset is sent just after TCP_CLOSE has taken their entry away. */
struct aborted {
	u64 time_ns;
	u64 seen_ns;
	struct process_id owner;
	u32 netns;
	u32 pad;
};
BPF_TABLE("lru_hash", u64, struct aborted, aborted, 1024);

#define RESET_FOLLOWS_NS 1000000000ull /* within microseconds, but whoever closes may lose the CPU before */

/* Where a reset follows, unless it was sent before (Multipath TCP). */
static __always_inline void remember_aborted(struct socket_record *record)
{
	struct aborted ended = {};

	if (record->error || (record->state != TCP_ESTABLISHED && record->state != TCP_CLOSE_WAIT))
		return;
	ended.time_ns = record->time_ns;
	ended.seen_ns = record->entry.seen_ns;
	ended.owner = record->entry.owner;
	ended.netns = record->entry.netns;
	aborted.update(&record->socket, &ended);
}

/* By socket, and where there is no room for one more of them, as in a flood of resets, by owner. */
static __always_inline void count_owned(struct drop_key *key, struct process_id *owner, u32 netns)
{
	struct drop_count *counted, fresh = {};

	key->generation = control(GENERATION);
	counted = drops.lookup(key);
	if (!counted) {
		if (owner)
			fresh.owner = *owner;
		fresh.netns = netns;
		drops.insert(key, &fresh);
		counted = drops.lookup(key);
	}
	if (!counted && fresh.owner.pid) {
		key->socket = fresh.owner.pid;
		key->seen_ns = fresh.owner.start_boot_ns;
		counted = owner_drops.lookup(key);
		if (!counted) {
			owner_drops.insert(key, &fresh);
			counted = owner_drops.lookup(key);
		}
	}
	if (counted)
		__sync_fetch_and_add(&counted->packets, 1);
	else
		count_loss(DROPS_WITHOUT_ROOM, 1);
}

static __always_inline void count_of_socket(u64 socket, struct socket_entry *entry, u32 kind, u32 reason)
{
	struct drop_key key = {};
	int alone = entry->owner_certainty != OWNER_UNKNOWN && !(entry->flags & SOCKET_SHARED);

	key.socket = socket;
	key.seen_ns = entry->seen_ns;
	key.reason = reason;
	key.kind = kind;
	entry->dropped = 1;
	count_owned(&key, alone ? &entry->owner : 0, entry->netns);
}

static __always_inline void count_stray(struct stray_key *key)
{
	u64 none = 0, *counted;

	key->generation = control(GENERATION);
	counted = strays.lookup(key);
	if (!counted) {
		strays.insert(key, &none);
		counted = strays.lookup(key);
	}
	if (counted)
		__sync_fetch_and_add(counted, 1);
	else
		count_loss(DROPS_WITHOUT_ROOM, 1);
}

/* Nobody in a scope of processes can be known to own a stray. */
static __always_inline int strays_in_scope(void)
{
#ifdef SCOPE_BY_PROCESS
	return 0;
#else
	return 1;
#endif
}

/* The namespace of a packet: of its socket if it has one, because what queues it may then have overwritten skb->dev. */
static __always_inline u32 netns_of_packet(void *skb, void *sk)
{
	void *device = 0, *net = 0;
	u32 inode = 0;
	u16 family = 0;

	if (sk) {
		LOAD(family, sk, OFFSET_sock_common_skc_family);
		return family == AF_INET || family == AF_INET6 ? netns_of(sk, TYPED) : 0;
	}
	LOAD(device, skb, OFFSET_sk_buff_dev);
	if (device) {
		LOAD(net, device, OFFSET_net_device_nd_net_net);
		LOAD(inode, net, OFFSET_net_ns_inum);
	}
	return inode;
}

static __always_inline void count_stray_packet(void *skb, void *sk, u8 kind, u32 reason)
{
	u16 protocol = 0, header = 0;
	struct stray_key key = {};
	u64 head = 0;
	u32 arrived = 0;

	LOAD(protocol, skb, OFFSET_sk_buff_protocol);
	LOAD(header, skb, OFFSET_sk_buff_network_header);
	if (!header || !strays_in_scope())
		return;
	LOAD(head, skb, OFFSET_sk_buff_head);
	LOAD(arrived, skb, OFFSET_sk_buff_skb_iif); /* 0: it was made here, so the far end is where it goes */
	head += header;
	if (protocol == ETH_P_IP_NETWORK_ORDER) {
		key.ip_version = 4;
		read_kernel(key.remote_address, 4, (void *)(head + (arrived ? 12 : 16)));
	} else if (protocol == ETH_P_IPV6_NETWORK_ORDER) {
		key.ip_version = 6;
		read_kernel(key.remote_address, 16, (void *)(head + (arrived ? 8 : 24)));
	} else {
		return;
	}
	key.netns = netns_of_packet(skb, sk);
	if (!key.netns || !netns_in_scope(key.netns))
		return;
	key.kind = kind;
	key.reason = reason;
	count_stray(&key);
}

/* A connection that has no entry: the map was full, or it is out of scope. */
static __always_inline void count_stray_socket(void *sk, u8 kind, u32 reason)
{
	struct stray_key key = {};

	key.netns = netns_of(sk, TYPED);
	if (!netns_in_scope(key.netns) || !strays_in_scope())
		return;
	key.ip_version = read_far_address(key.remote_address, sk);
	key.kind = kind;
	key.reason = reason;
	count_stray(&key);
}

/*
 * Whether all that a TCP segment does is to ask whether the far end is there, or whether its window is still shut: it has no
 * payload, or one byte, which a keepalive sends once more (RFC 9293 section 3.8.4) and a window probe too early (section
 * 3.8.6.1). The kernel answers and says that it drops what is old or does not fit. It has judged the segment, so skb->cb is
 * TCP's.
 */
static __always_inline int is_probe(void *skb, u32 reason)
{
	u32 begin = 0, end = 0;
	u8 flags = 0;

	if (!IS_OLD_SEQUENCE(reason) && !IS_OLD_OR_BEYOND(reason))
		return 0;
	READ(begin, skb, OFFSET_sk_buff_cb + OFFSET_tcp_skb_cb_seq);
	READ(end, skb, OFFSET_sk_buff_cb + OFFSET_tcp_skb_cb_end_seq);
	READ(flags, skb, OFFSET_sk_buff_cb + OFFSET_tcp_skb_cb_tcp_flags);
	if (flags & TCP_FIN_SYN_RST)
		return 0;
	return begin == end || (IS_OLD_OR_BEYOND(reason) && end - begin == 1);
}

/*
 * Whether raw sockets may have read the packet all the same. They get copies first, which nothing in the packet shows for
 * certain; then the kernel looks for a ping socket that an ICMP echo reply is for, and does not find one. It answers those
 * who send UDP or TCP to where nobody listens, so of these the reason stands.
 */
static __always_inline int is_copied(void *skb, struct socket_entry *entry, u32 reason)
{
	u16 protocol = 0, header = 0;
	u64 head = 0;
	u8 next = 0;

	if (!IS_OF_COPIES(reason))
		return 0;
	if (entry) /* a filter of a raw socket picks what is for its program, as that of ping(8) does */
		return entry->protocol == PROTOCOL_OTHER;
	LOAD(protocol, skb, OFFSET_sk_buff_protocol);
	LOAD(header, skb, OFFSET_sk_buff_network_header);
	LOAD(head, skb, OFFSET_sk_buff_head);
	READ(next, head + header, protocol == ETH_P_IP_NETWORK_ORDER ? 9 : 6);
	return next == (protocol == ETH_P_IP_NETWORK_ORDER ? IPPROTO_ICMP : IPPROTO_ICMPV6);
}

/*
 * kfree_skb(skb, location, reason, rx_sk): a reason since Linux 5.17, and since 6.12 the socket that refuses a packet. Before
 * that only the sender's packets have one, and those of connections that were found before a firewall's last look.
 */
int packet_dropped(struct bpf_raw_tracepoint_args *ctx)
{
	void *skb = (void *)ctx->args[0], *sk = 0;
	struct socket_entry *entry = 0;
	u32 reason = 0;
	u64 key;

#if ARGUMENTS_kfree_skb >= 3
	reason = ctx->args[2];
#endif
	if (IS_NO_DROP(reason) || is_probe(skb, reason))
		return 0;
#if ARGUMENTS_kfree_skb >= 4
	sk = (void *)ctx->args[3];
#endif
	if (!sk)
		LOAD(sk, skb, OFFSET_sk_buff_sk);
	key = (u64)sk;
	if (sk)
		entry = sockets.lookup(&key);
	if (is_copied(skb, entry, reason))
		return 0;
	if (entry)
		count_of_socket(key, entry, PACKET_DROPPED, reason);
	else
		count_stray_packet(skb, sk, PACKET_DROPPED, reason);
	return 0;
}

/* tcp_send_reset(sk, skb, reason): in answer to a packet, which then is skb, or to end the connection sk, or both. */
int reset_sent(struct bpf_raw_tracepoint_args *ctx)
{
	void *sk = (void *)ctx->args[0], *skb = (void *)ctx->args[1];
	u32 reason = REASON_UNTOLD;
	struct socket_entry *entry;
	struct drop_key key = {};
	struct aborted *ended;

#if ARGUMENTS_tcp_send_reset >= 3
	reason = ctx->args[2];
#endif
	if (!sk) {
		if (skb)
			count_stray_packet(skb, 0, RESET_SENT, reason);
		return 0;
	}
	key.socket = (u64)sk;
	entry = sockets.lookup(&key.socket);
	ended = entry ? 0 : aborted.lookup(&key.socket);
	if (entry) {
		count_of_socket(key.socket, entry, RESET_SENT, reason);
	} else if (ended && bpf_ktime_get_ns() - ended->time_ns < RESET_FOLLOWS_NS) {
		key.seen_ns = ended->seen_ns;
		key.reason = reason;
		key.kind = RESET_SENT;
		count_owned(&key, &ended->owner, ended->netns);
		aborted.delete(&key.socket);
	} else if (skb) {
		count_stray_packet(skb, sk, RESET_SENT, reason);
	} else {
		count_stray_socket(sk, RESET_SENT, reason);
	}
	return 0;
}

/* tcp_receive_reset(sk): the reset is valid, and ends the connection */
int reset_received(struct bpf_raw_tracepoint_args *ctx)
{
	void *sk = (void *)ctx->args[0];
	struct socket_entry *entry;
	u64 key = (u64)sk;

	entry = sockets.lookup(&key);
	if (entry)
		count_of_socket(key, entry, RESET_RECEIVED, 0);
	else
		count_stray_socket(sk, RESET_RECEIVED, 0);
	return 0;
}

/*
 * icmp_send(skb, type, code): an ICMP error is sent to the sender of skb. IPv4 only, and only as many as the limit allows.
 * What is sent about a packet of a socket goes to this host, where socket_error() sees it arrive.
 */
int icmp_sent(struct bpf_raw_tracepoint_args *ctx)
{
	void *skb = (void *)ctx->args[0], *sk = 0;
	u32 type = ctx->args[1], code = ctx->args[2];

	LOAD(sk, skb, OFFSET_sk_buff_sk);
	if (!sk)
		count_stray_packet(skb, 0, ICMP_SENT, type << 8 | (code & 255));
	return 0;
}
