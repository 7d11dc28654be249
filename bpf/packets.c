/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Bytes of all that is not TCP, DNS messages (dns.c) and turns of TCP connections (turns.c), from cgroup_skb on the root
 * of cgroup2: the sender is `current` even while the packet waits for a neighbour, the payload is whole (reassembled, page
 * fragments included), and each packet is seen once, also across veth and NAT. The raw tracepoints of the device layer
 * offer neither the sender, nor the payload whole, nor each packet once.
 *
 * A cgroup_skb program decides whether a packet lives. These never do: each entry point calls code that returns
 * nothing, then returns the constant 1, "pass".
 */

#define IPV6_EXTENSION_HEADERS 8 /* more than any stack sends; a longer chain is passed over */
#define IPV6_FRAGMENT 44
#define UDP_HEADER_BYTES 8

static __always_inline int has_ports(u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP;
}

/* Where the transport header begins. 0 if that cannot be told. */
static __always_inline int parse_ip(struct __sk_buff *skb, struct packet *packet)
{
	u8 *data = (u8 *)(long)skb->data, *end = (u8 *)(long)skb->data_end;
	u8 next[4];
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
		if (packet->protocol != 0 && packet->protocol != 43 && packet->protocol != 60 &&
		    packet->protocol != IPV6_FRAGMENT)
			return 1;
		if (bpf_skb_load_bytes(skb, packet->l4_offset, next, sizeof(next)))
			return 0;
		if (packet->protocol == IPV6_FRAGMENT) {
			if (next[2] || next[3] & 0xf8) /* a later fragment has no transport header */
				return 0;
			next[1] = 0; /* reserved: RFC 8200 section 4.5 */
		}
		packet->protocol = next[0];
		packet->l4_offset += (next[1] + 1) << 3;
	}
	return has_ports(packet->protocol);
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

static __always_inline void read_far_end(struct __sk_buff *skb, struct packet *packet, u16 port, int egress,
					 struct far_end *far)
{
	u8 *data = (u8 *)(long)skb->data, *end = (u8 *)(long)skb->data_end;
	u64 *ipv6 = (u64 *)(data + (egress ? 24 : 8));

	far->port = port;
	if (packet->version == 4) {
		if (data + 20 <= end)
			far->address[1] = MAPPED(*(u32 *)(data + (egress ? 16 : 12)));
	} else if ((u8 *)(ipv6 + 2) <= end) {
		far->address[0] = ipv6[0];
		far->address[1] = ipv6[1];
	}
}

/* How many datagrams a packet is: more than one where the kernel bundles them (GSO, GRO). */
static __always_inline u32 packets_in(struct __sk_buff *skb)
{
	u32 segments = skb->gso_segs;

	return segments ? segments : 1;
}

/* What sockets exchanged with others than the first; the idle ones are removed by nettop. */
BPF_HASH(udp_flows, struct udp_flow_key, struct udp_flow, 16384);

static __always_inline void name_flow(struct udp_flow_key *flow, u64 socket, struct socket_entry *entry, struct far_end *far)
{
	flow->socket = socket;
	flow->seen_ns = entry->seen_ns;
	((u64 *)flow->address)[0] = far->address[0];
	((u64 *)flow->address)[1] = far->address[1];
	flow->port = far->port;
}

/* Not an LRU hash: a flood from a million addresses would push everybody out of it. */
static __always_inline struct udp_flow *flow_of(u64 socket, struct socket_entry *entry, struct far_end *far)
{
	struct udp_flow_key key = {};
	struct udp_flow fresh = {}, *flow;

	name_flow(&key, socket, entry, far);
	flow = udp_flows.lookup(&key);
	if (flow)
		return flow;
	udp_flows.insert(&key, &fresh); /* where there is no room, it is in others_tx_bytes and others_rx_bytes */
	return udp_flows.lookup(&key);
}

/*
 * Whether this is whom the socket talked to first, which is in its entry: most sockets only ever talk to one. On the very
 * first datagrams two CPUs may write different ones at the same time; the last one to write sees that, and begins anew.
 */
static __always_inline int is_first_remote(struct socket_entry *entry, struct far_end *far)
{
	volatile u64 *address = (u64 *)entry->remote_address;
	volatile u16 *port = &entry->remote_port;

	if (!(address[0] | address[1])) {
		*port = far->port;
		address[0] = far->address[0];
		address[1] = far->address[1];
		if (address[1] == far->address[1] && address[0] == far->address[0] && *port == far->port)
			return 1;
		address[0] = address[1] = 0;
		return 0;
	}
	return address[1] == far->address[1] && *port == far->port && address[0] == far->address[0];
}

/* Returns whether the datagram may begin a connection of QUIC; never where there is no room for one more far end. */
static __always_inline int count_exchanged(u64 socket, struct socket_entry *entry, struct far_end *far, u32 bytes, u32 packets,
					   int egress, struct arrival *arrival)
{
	struct udp_flow *flow;
	u64 this_way, other_way;

	if (arrival)
		arrival->packets = packets;
	if (is_first_remote(entry, far)) {
		this_way = egress ? entry->kept_tx_packets : entry->kept_rx_packets;
		other_way = egress ? entry->kept_rx_packets : entry->kept_tx_packets;
		__sync_fetch_and_add(egress ? &entry->kept_tx_packets : &entry->kept_rx_packets, packets);
		return is_of_beginning(this_way, other_way);
	}
	__sync_fetch_and_add(egress ? &entry->others_tx_bytes : &entry->others_rx_bytes, bytes);
	if (arrival) {
		arrival->is_of_flow = 1;
		arrival->from = *far;
	}
	flow = flow_of(socket, entry, far);
	if (!flow)
		return 0;
	this_way = egress ? flow->tx_packets : flow->rx_packets;
	other_way = egress ? flow->rx_packets : flow->tx_packets;
	__sync_fetch_and_add(egress ? &flow->tx_bytes : &flow->rx_bytes, bytes);
	__sync_fetch_and_add(egress ? &flow->tx_packets : &flow->rx_packets, packets);
	return is_of_beginning(this_way, other_way);
}

/*
 * Somebody else than the owner sends, or so it seems: a packet that a firewall in user space has judged (NFQUEUE) goes on in
 * the context of the firewall, which does not hold the socket.
 */
static __always_inline void another_sender(u64 key, struct socket_entry *entry, void *task, int sent_before)
{
	struct process_id self = {};
	int held;

	if (entry->flags & SOCKET_SHARED || is_kernel_thread(task))
		return;
	held = holds(task, (void *)key);
	if (held == HOLDS_NOT)
		return;
	if (held == HOLDS_PERHAPS || (sent_before && entry->owner_certainty != OWNER_UNKNOWN)) {
		entry->flags |= SOCKET_SHARED;
		return;
	}
	/* inherited or received, and used by nobody else yet */
	identify(&self, task);
	entry = sockets.lookup(&key); /* the entry may have gone to another socket meanwhile */
	if (entry)
		own(entry, &self, OWNER_EXACT);
}

/* The sockets that were released last: until the kernel has unhashed one, datagrams still reach it that nobody will read. */
#define RELEASED 1024
BPF_ARRAY(released, u64, RELEASED);

static __always_inline u64 *released_slot(u64 key)
{
	int slot = (key >> 6) & (RELEASED - 1); /* sockets are aligned to cache lines */

	return released.lookup(&slot);
}

/* A socket that is in no process's table of open files, or that the map had no room for; the kernel's own are nobody's. */
static __always_inline void count_unknown(u64 key, u32 payload_bytes)
{
#ifndef SCOPE_BY_PROCESS
	void *sk = (void *)key;
	u64 *last = released_slot(key);
	u8 kernel_socket = 0;

	READ(kernel_socket, sk, OFFSET_sock_sk_kern_sock);
	if (kernel_socket & MASK_sock_sk_kern_sock || (last && *last == key) || !netns_in_scope(netns_of(sk, UNTYPED)))
		return;
	count_loss(UDP_UNATTRIBUTED_BYTES, payload_bytes);
#endif
}

static __always_inline void take_back_of_flow(u64 socket, struct socket_entry *entry, struct arrival *arrival)
{
	struct udp_flow_key key = {};
	struct udp_flow *flow;

	__sync_fetch_and_add(&entry->others_rx_bytes, -arrival->payload_bytes);
	name_flow(&key, socket, entry, &arrival->from);
	flow = udp_flows.lookup(&key);
	if (flow) {
		__sync_fetch_and_add(&flow->rx_bytes, -arrival->payload_bytes);
		__sync_fetch_and_add(&flow->rx_packets, -arrival->packets);
	}
}

/*
 * The socket refuses a datagram, mostly because its receive buffer is full. This comes on the same CPU, right after
 * packet_ingress() has counted that datagram; its header has been pulled off by now.
 */
static __always_inline void take_back(u64 key)
{
	struct socket_entry *entry = sockets.lookup(&key);
	struct arrival *arrival;
	int only = 0;

	if (!entry)
		return;
	/* only what was counted: a packet that could not be parsed was not */
	arrival = arrivals.lookup(&only);
	if (arrival && arrival->socket == key) {
		__sync_fetch_and_add(&entry->kept_rx_bytes, -arrival->payload_bytes);
		if (arrival->is_of_flow)
			take_back_of_flow(key, entry, arrival);
		else
			__sync_fetch_and_add(&entry->kept_rx_packets, -arrival->packets);
	}
	forget_arrival();
}

/* udp_fail_queue_rcv_skb(rc, sk, skb) */
int udp_dropped(struct bpf_raw_tracepoint_args *ctx)
{
	dns_answer_dropped(ctx, (void *)ctx->args[1]);
	take_back(ctx->args[1]);
	return 0;
}

/* sock_rcvqueue_full(sk, skb): of sockets that are neither TCP's nor UDP's */
int other_dropped(struct bpf_raw_tracepoint_args *ctx)
{
	take_back(ctx->args[0]);
	return 0;
}

/*
 * Returns the socket's entry, which was made when the socket was (or when nettop started); 0 if it has none, or if it is
 * not what these bytes are counted for. None is made here: a datagram may still arrive while its socket is being closed,
 * and nothing would ever remove that entry. `bytes` are the payload of IP.
 *
 * The socket decides, not the packet: a raw socket sends UDP and TCP too, and a packet that IPsec has wrapped still
 * belongs to the UDP or TCP socket that it comes from.
 */
static __always_inline struct socket_entry *count(void *sk, u32 bytes, u8 protocol, int egress, struct arrival *arrival)
{
	u64 key = (u64)sk, sent_before;
	struct socket_entry *entry = sockets.lookup(&key);
	u32 payload_bytes = bytes - UDP_HEADER_BYTES, pid = 0;
	void *task;

	if (!entry) {
		if (protocol == IPPROTO_UDP)
			count_unknown(key, payload_bytes);
		return 0;
	}
	if (entry->protocol == PROTOCOL_OTHER)
		payload_bytes = bytes;
	else if (entry->protocol != IPPROTO_UDP || protocol != IPPROTO_UDP)
		return 0;
	if (arrival)
		arrival->payload_bytes = payload_bytes;
	if (!egress) {
		__sync_fetch_and_add(&entry->kept_rx_bytes, payload_bytes);
		return entry;
	}
	sent_before = entry->kept_tx_bytes;
	__sync_fetch_and_add(&entry->kept_tx_bytes, payload_bytes);
	task = (void *)bpf_get_current_task();
	READ(pid, task, OFFSET_task_struct_tgid);
	if (pid != entry->owner.pid || entry->owner_certainty == OWNER_UNKNOWN)
		another_sender(key, entry, task, sent_before != 0);
	else if (entry->owner_certainty == OWNER_SCANNED)
		entry->owner_certainty = OWNER_EXACT; /* seen in the act */
	return entry;
}

/*
 * Who asks: the owner of the socket, under the name that it has now if it is the current process. That is another one where
 * a TCP segment is sent again, a packet goes on that a firewall has judged, or several processes hold the socket: then the
 * one that holds it and runs now asks. Stays zero where nobody knows.
 */
static __always_inline void find_asking(struct process_id *asking, struct socket_entry *entry, void *sk)
{
	void *task = (void *)bpf_get_current_task();
	u32 pid = 0, owned = 0;
	int held = HOLDS_NOT;

	if (!entry || entry->owner_certainty == OWNER_UNKNOWN)
		return;
	READ(pid, task, OFFSET_task_struct_tgid);
	if (pid != entry->owner.pid) {
		READ(owned, sk, OFFSET_sock_sk_lock_owned); /* by who sends over TCP; UDP mostly does without the lock */
		if (entry->flags & SOCKET_SHARED || (owned && entry->protocol == IPPROTO_TCP))
			held = holds(task, sk);
	}
	if (pid == entry->owner.pid || held == HOLDS)
		identify(asking, task);
	else if (held == HOLDS_NOT && !(entry->flags & SOCKET_SHARED))
		*asking = entry->owner;
}

/*
 * Whether a TCP segment comes from a raw socket, or is a copy for one: that has its protocol's number for a local port. The
 * port of a segment that NAT has changed differs as well, and count() finds that it is not a raw socket's.
 */
static __always_inline int is_raw(void *sk, u32 ports, int egress)
{
	u32 local_port;

	LOAD(local_port, sk, SOCK_SRC_PORT);
	return local_port != HOST_ORDER(egress ? ports & 0xffff : ports >> 16);
}

static __always_inline void observe(struct __sk_buff *skb, int egress)
{
	struct packet packet = {};
	struct socket_entry *entry = 0;
	struct arrival *arrival = 0;
	struct far_end far = {};
	struct said said = {};
	u32 header_bytes = UDP_HEADER_BYTES, ports = 0, bytes;
	void *sk = skb->sk;
	u64 any;
	u16 server_port;
	u8 data_offset = 0;
	int asks, counts, begins = 0;

	if (!parse_ip(skb, &packet) || (has_ports(packet.protocol) && read_ports(skb, &packet, &ports))) {
		if (!egress)
			forget_arrival();
		return;
	}
	any = skb->len;
	FORGET(packet.l4_offset, any);
	FORGET(packet.version, any);
	FORGET(ports, any);
	if (!sk)
		return;
	if (packet.protocol == IPPROTO_TCP)
		take_turn(skb, &packet, egress, &said);
	server_port = HOST_ORDER(egress ? ports >> 16 : ports & 0xffff);
	asks = IS_DNS_PORT(server_port) || (egress && ports && asks_behind_nat(skb, sk));
	counts = packet.protocol != IPPROTO_TCP || is_raw(sk, ports, egress);
	if (!counts && !asks) {
#ifdef DECRYPT
		if (egress && said.payload_at)
			note_tls_socket(skb, said.payload_at);
#endif
#ifdef REQUESTS
		if (said.payload_at) /* here, where nothing else needs the stack */
			take_head(skb, &packet, &said, egress);
#endif
		return;
	}
	sk = packet_socket(skb);
	if (!egress) {
		arrival = arrives(sk);
		if (!arrival)
			return;
	}
	bytes = skb->len - packet.l4_offset;
	if (counts && skb->len >= packet.l4_offset && (bytes >= UDP_HEADER_BYTES || packet.protocol != IPPROTO_UDP))
		entry = count(sk, bytes, packet.protocol, egress, arrival);
	if (entry && entry->protocol == IPPROTO_UDP) {
		read_far_end(skb, &packet, server_port, egress, &far);
		begins = count_exchanged((u64)sk, entry, &far, bytes - UDP_HEADER_BYTES, packets_in(skb), egress, arrival);
	}
	if (!asks) {
#ifdef REQUESTS
		if (begins)
			take_initial(skb, sk, entry, &far, packet.l4_offset + UDP_HEADER_BYTES, bytes - UDP_HEADER_BYTES, egress);
#endif
		return;
	}
	if (packet.protocol == IPPROTO_TCP) {
		if (bpf_skb_load_bytes(skb, packet.l4_offset + 12, &data_offset, 1))
			return;
		header_bytes = (data_offset >> 4) << 2;
		entry = 0;
	}
	report_dns(skb, sk, &packet, header_bytes, ports, entry, arrival, egress);
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

/* The socket is the context of these programs, also a typed pointer: once or twice in its life a helper may copy it. */
static __always_inline void *context_socket(struct bpf_sock *sk)
{
	struct {
		struct bpf_sock *typed;
	} box = {sk};
	void *plain = 0;

	read_kernel(&plain, sizeof(plain), &box.typed);
	return plain;
}

/* Here the owner is certain: in the context of a packet it may be somebody else who handles it. */
static __always_inline void observe_creation(struct bpf_sock *typed)
{
	struct socket_entry entry = {};
	void *task;
	u64 key;

	entry.protocol = counted_as(typed->type, typed->protocol);
	if (entry.protocol == IPPROTO_TCP)
		return;
	key = (u64)context_socket(typed);
	entry.netns = netns_of((void *)key, UNTYPED);
	if (!netns_in_scope(entry.netns)) {
		sockets.delete(&key);
		return;
	}
	entry.seen_ns = bpf_ktime_get_ns();
	entry.held_scan = control(SCAN);
	task = (void *)bpf_get_current_task();
	if (!is_kernel_thread(task)) {
		identify(&entry.owner, task);
		entry.owner_certainty = OWNER_EXACT;
	}
	/* over whatever stands there: nobody else knows this address yet, so that can only be of a socket that is gone */
	if (sockets.update(&key, &entry))
		count_loss(SOCKETS_MAP_FULL, 1);
}

int socket_create(struct bpf_sock *sk)
{
	observe_creation(sk);
	return 1;
}

/* Of TCP only what failed to connect. Multipath TCP is released as a whole: the subflow that tried is behind its socket. */
static __always_inline void release_unsent(struct bpf_sock *typed, struct socket_record *record)
{
	struct socket_entry *entry;
	u64 key;

	if (typed->protocol == IPPROTO_TCP) {
		if (typed->state != TCP_CLOSE) /* nearly all */
			return;
		key = (u64)context_socket(typed);
#ifdef OFFSET_mptcp_sock_first
	} else if (typed->protocol == IPPROTO_MPTCP) {
		READ(key, context_socket(typed), OFFSET_mptcp_sock_first);
#endif
	} else {
		return;
	}
	entry = sockets.lookup(&key);
	if (entry && entry->flags & SOCKET_UNSENT)
		report_unsent(typed, key, entry, record);
}

/* One event per socket that is not TCP's, from its release in the closing process: the only moment that sees every socket end. */
static __always_inline void observe_release(struct bpf_sock *typed)
{
	u64 room[SOCKET_RECORD_HEAD_BYTES / 8] = {}; /* a whole record would not fit on the stack with all that a scope asks for */
	struct socket_record *record = (void *)room;
	struct socket_entry *entry;
	u64 key, *last;
	void *task;

	if (counted_as(typed->type, typed->protocol) == IPPROTO_TCP) {
		release_unsent(typed, record);
		return;
	}
	key = (u64)context_socket(typed);
	last = released_slot(key);
	if (last)
		*last = key;
	entry = sockets.lookup(&key);
	if (!entry || entry->protocol == IPPROTO_TCP)
		return;
	record->entry = *entry;
	sockets.delete(&key);
	record->rx_dropped = read_dropped((void *)key) - record->entry.kept_dropped;
	/* getaddrinfo(3) makes sockets that carry nothing */
	if (!record->entry.kept_tx_bytes && !record->entry.kept_rx_bytes && !record->rx_dropped && !record->entry.reported_state)
		return;
	task = (void *)bpf_get_current_task();
	if (record->entry.owner_certainty == OWNER_UNKNOWN && !is_kernel_thread(task)) {
		identify(&record->entry.owner, task);
		record->entry.owner_certainty = OWNER_EXACT;
	}
	if (!owner_in_scope(&record->entry, 1) || (record->entry.protocol == IPPROTO_UDP && count_socket(record)))
		return;
	record->time_ns = bpf_ktime_get_ns();
	record->socket = key;
	read_counted(record, (void *)key);
	record->closed = 1;
	spill_if_refused(udp_events.perf_submit(typed, record, SOCKET_RECORD_HEAD_BYTES), LOST_UDP_EVENTS, record,
			 SOCKET_RECORD_HEAD_BYTES);
}

int socket_release(struct bpf_sock *sk)
{
	observe_release(sk);
	return 1;
}
