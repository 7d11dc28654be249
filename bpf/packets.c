/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * DNS messages and UDP bytes, from cgroup_skb on the root of cgroup2: the sending process is `current` even while the
 * packet waits for a neighbour, the payload is whole (reassembled, page fragments included), and each packet is seen
 * once, also across veth and NAT. The raw tracepoints of the device layer offer none of the three.
 *
 * A cgroup_skb program decides whether a packet lives. These never do: each entry point calls code that returns
 * nothing, then returns the constant 1, "pass".
 */

#define IPV6_EXTENSION_HEADERS 4 /* more than any stack sends; a longer chain is passed over */

struct packet {
	u32 l4_offset;
	u8 protocol;
	u8 version;
};

/* Where the transport header begins. 0 if that cannot be told. */
static __always_inline int parse_ip(struct __sk_buff *skb, struct packet *packet)
{
	u8 *data = (u8 *)(long)skb->data, *end = (u8 *)(long)skb->data_end;
	u8 next[2];
	int i;

	if (data + 20 > end)
		return 0;
	packet->version = data[0] >> 4;
	if (packet->version == 4) {
		packet->protocol = data[9];
		packet->l4_offset = (data[0] & 15) << 2;
		/* a later fragment has no transport header */
		return packet->l4_offset >= 20 && !(data[6] & 0x1f) && !data[7];
	}
	if (packet->version != 6 || data + 40 > end)
		return 0;
	packet->protocol = data[6];
	packet->l4_offset = 40;
#pragma clang loop unroll(disable) /* rare: not worth its weight in code */
	for (i = 0; i < IPV6_EXTENSION_HEADERS; i++) {
		/* hop-by-hop options, routing, destination options: RFC 8200 section 4 */
		if (packet->protocol != 0 && packet->protocol != 43 && packet->protocol != 60)
			return 1;
		if (bpf_skb_load_bytes(skb, packet->l4_offset, next, 2))
			return 0;
		packet->protocol = next[0];
		packet->l4_offset += (next[1] + 1) << 3;
	}
	return packet->protocol == IPPROTO_TCP || packet->protocol == IPPROTO_UDP;
}

/* Source and destination port, as they are in the packet. Returns 0, or less where there are none. */
static __always_inline int read_ports(struct __sk_buff *skb, struct packet *packet, u32 *ports)
{
	u8 *data = (u8 *)(long)skb->data, *end = (u8 *)(long)skb->data_end;
	u32 *at = (u32 *)(data + (packet->l4_offset & 63));

	if (packet->version == 4 && (u8 *)(at + 1) <= end) { /* without a call of a helper, for nearly every packet */
		*ports = *at;
		return 0;
	}
	return bpf_skb_load_bytes(skb, packet->l4_offset, ports, sizeof(*ports));
}

/*
 * skb->sk is a typed pointer: through skb->cb it becomes the plain address that keys the map of sockets. The kernel puts
 * the packet's own cb back after the program (__bpf_prog_run_save_cb(), include/linux/filter.h), and a helper that
 * copies the pointer would cost every packet 25 ns.
 */
static __always_inline void *packet_socket(struct __sk_buff *skb)
{
	*(volatile u64 *)&skb->cb[0] = (u64)skb->sk;
	return (void *)*(volatile u64 *)&skb->cb[0];
}

/* Returns the socket's entry; 0 if it has none: it is out of scope, the kernel's own, or found no room. */
static __always_inline struct socket_entry *count_udp(struct __sk_buff *skb, void *sk, u32 payload_bytes, int egress)
{
	u64 key = (u64)sk;
	struct socket_entry *entry = sockets.lookup(&key);
	struct process_id self = {};
	u8 kernel_socket = 0;
	u32 pid = 0;

	if (!entry) {
		struct socket_entry fresh = {};

		/* a socket of the kernel itself is never released through the hook below and has no owner */
		READ(kernel_socket, sk, OFFSET_sock_sk_kern_sock);
		if (kernel_socket & MASK_sock_sk_kern_sock)
			return 0;
		fresh.netns = netns_of(sk, UNTYPED);
		if (!netns_in_scope(fresh.netns))
			return 0;
#if defined(SCOPE_PID) || defined(SCOPE_COMM)
		if (egress) {
			identify_current(&self);
			if (!process_in_scope(&self))
				return 0;
		}
#endif
		fresh.protocol = IPPROTO_UDP;
		fresh.seen_ns = bpf_ktime_get_ns();
		sockets.update(&key, &fresh);
		entry = sockets.lookup(&key);
		if (!entry) {
			count_loss(SOCKETS_MAP_FULL, 1);
			count_loss(UDP_UNATTRIBUTED_BYTES, payload_bytes);
			return 0;
		}
	}
	if (!egress) {
		__sync_fetch_and_add(&entry->kept_rx_bytes, payload_bytes);
		return entry;
	}
	__sync_fetch_and_add(&entry->kept_tx_bytes, payload_bytes);
	if (entry->owner_certainty != OWNER_EXACT) {
		identify_current(&self);
		own(entry, &self, OWNER_EXACT);
		return entry;
	}
	READ(pid, bpf_get_current_task(), OFFSET_task_struct_tgid);
	if (pid != entry->owner.pid)
		entry->flags |= SOCKET_SHARED;
	return entry;
}

static __always_inline void report_dns(struct __sk_buff *skb, void *sk, struct packet *packet, u32 header_bytes,
				       u32 ports, struct socket_entry *udp, int egress)
{
	u16 source = HOST_ORDER(ports & 0xffff), destination = HOST_ORDER(ports >> 16);
	u32 offset = packet->l4_offset + header_bytes, length = skb->len;
	struct dns_packet event = {};
	u64 key = (u64)sk;
	u32 wanted;
	int refused;

	if (length <= offset)
		return;
	/* multicast DNS answers whom it likes: both ports are the same then */
	if (udp && source != destination && count_message(skb, udp, offset, length - offset, egress))
		return;
	event.netns = netns_of(sk, UNTYPED);
	if (!netns_in_scope(event.netns))
		return;
	if (egress) {
		identify_current(&event.owner);
		if (packet->protocol == IPPROTO_TCP) {
			/* a retransmission leaves in the context of whoever was interrupted */
			struct socket_entry *entry = sockets.lookup(&key);

			if (entry && entry->owner_certainty != OWNER_UNKNOWN)
				event.owner = entry->owner;
		}
		if (!process_in_scope(&event.owner))
			return;
	}
	event.time_ns = bpf_ktime_get_ns();
	event.socket_cookie = bpf_get_socket_cookie(skb);
	event.query = egress;
	event.protocol = packet->protocol;
	event.ip_version = packet->version;
	event.payload_offset = offset;
	event.payload_bytes = length - offset;
	event.client_port = egress ? source : destination;
	event.server_port = egress ? destination : source;
	if (packet->protocol == IPPROTO_TCP) {
		bpf_skb_load_bytes(skb, packet->l4_offset + 4, &event.tcp_seq, 4);
		event.tcp_seq = __builtin_bswap32(event.tcp_seq);
	}
	if (packet->version == 4) {
		bpf_skb_load_bytes(skb, egress ? 12 : 16, event.client_address, 4);
		bpf_skb_load_bytes(skb, egress ? 16 : 12, event.server_address, 4);
	} else {
		bpf_skb_load_bytes(skb, egress ? 8 : 24, event.client_address, 16);
		bpf_skb_load_bytes(skb, egress ? 24 : 8, event.server_address, 16);
	}
	wanted = offset + DNS_CAPTURE_BYTES;
	if (wanted > length)
		wanted = length;
	/* on a line of its own: BCC's rewriting adds a semicolon */
	refused = dns_events.perf_submit_skb(skb, wanted, &event, sizeof(event));
	if (refused)
		count_loss(LOST_DNS_EVENTS, 1);
}

static __always_inline void observe(struct __sk_buff *skb, int egress)
{
	struct packet packet = {};
	struct socket_entry *udp = 0;
	u32 header_bytes = 8, ports = 0;
	u16 server_port;
	u8 data_offset = 0;
	void *sk;

	if (!parse_ip(skb, &packet))
		return;
	if (packet.protocol != IPPROTO_UDP && packet.protocol != IPPROTO_TCP)
		return;
	if (read_ports(skb, &packet, &ports))
		return;
	server_port = HOST_ORDER(egress ? ports >> 16 : ports & 0xffff);
	if (packet.protocol == IPPROTO_TCP && !IS_DNS_PORT(server_port))
		return;
	if (!skb->sk)
		return;
	sk = packet_socket(skb);
	if (packet.protocol == IPPROTO_UDP) {
		if (skb->len >= packet.l4_offset + 8)
			udp = count_udp(skb, sk, skb->len - packet.l4_offset - 8, egress);
		if (!IS_DNS_PORT(server_port))
			return;
	} else {
		if (bpf_skb_load_bytes(skb, packet.l4_offset + 12, &data_offset, 1))
			return;
		header_bytes = (data_offset >> 4) << 2;
	}
	report_dns(skb, sk, &packet, header_bytes, ports, udp, egress);
}

int packet_egress(struct __sk_buff *skb)
{
	observe(skb, 1);
	return 1;
}

int packet_ingress(struct __sk_buff *skb)
{
	observe(skb, 0);
	return 1;
}

/* The socket of a release is the program's context, also a typed pointer: once in its life a helper may copy it. */
static __always_inline void *released_socket(struct bpf_sock *sk)
{
	struct {
		struct bpf_sock *typed;
	} box = {sk};
	void *plain = 0;

	read_kernel(&plain, sizeof(plain), &box.typed);
	return plain;
}

/* One event per UDP socket, from its release in the closing process: the only moment that sees every socket end. */
static __always_inline void observe_release(struct bpf_sock *typed)
{
	struct socket_record record = {};
	struct process_id self = {};
	struct socket_entry *entry;
	u64 key;

	if (typed->protocol != IPPROTO_UDP)
		return;
	key = (u64)released_socket(typed);
	entry = sockets.lookup(&key);
	if (!entry || entry->protocol != IPPROTO_UDP)
		return;
	record.entry = *entry;
	sockets.delete(&key);
	if (record.entry.owner_certainty != OWNER_EXACT) {
		identify_current(&self);
		own(&record.entry, &self, OWNER_EXACT);
	}
	if (!owner_in_scope(&record.entry, 1) || count_socket(&record.entry))
		return;
	record.time_ns = bpf_ktime_get_ns();
	record.socket = key;
	record.tx_bytes = record.entry.kept_tx_bytes;
	record.rx_bytes = record.entry.kept_rx_bytes;
	record.closed = 1;
	if (udp_events.perf_submit(typed, &record, sizeof(record)))
		count_loss(LOST_UDP_EVENTS, 1);
}

int socket_release(struct bpf_sock *sk)
{
	observe_release(sk);
	return 1;
}
