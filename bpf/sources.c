/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Packets by the address that they come from, also those that no socket takes: scans, floods, what is forwarded. From the
 * raw tracepoint netif_receive_skb, which sees every interface of every network namespace and cannot touch a packet, as
 * XDP and tc programs do. It comes before firewalls, so what these drop is counted too.
 */

#define IFF_LOOPBACK 8 /* include/uapi/linux/if.h */
#define PACKET_LOOPBACK 5 /* include/uapi/linux/if_packet.h: our own, to a group that this host is in too */
#define ETH_P_IP 0x0008 /* include/uapi/linux/if_ether.h, in network order, as read on a little-endian machine */
#define ETH_P_IPV6 0xdd86
#define ETH_P_8021Q 0x0081
#define ETH_P_8021AD 0xa888
#define VLAN_TAG_BYTES 4
#define TCP_FLAGS_AT 13 /* from the TCP header on */
#define TCP_SYN_AND_ACK 0x12
#define TCP_SYN_ONLY 0x02

/* Not an LRU hash: a flood from a million addresses would push everybody out of it. nettop removes the idle ones. */
BPF_HASH(packet_sources, struct packet_source, struct source_packets, 16384);

/* The IP header, and of TCP what follows it. */
struct packet_head {
	u8 bytes[56];
};

static __always_inline void count_from(struct packet_source *source, void *device, struct source_packets *amount)
{
	struct source_packets *known = packet_sources.lookup(source);

	if (!known) {
		struct source_packets fresh = {};

		READ(fresh.interface, device, OFFSET_net_device_name);
		packet_sources.insert(source, &fresh);
		known = packet_sources.lookup(source);
	}
	if (!known) {
		count_loss(PACKETS_WITHOUT_HOST, amount->packets);
		return;
	}
	__sync_fetch_and_add(&known->packets, amount->packets);
	__sync_fetch_and_add(&known->bytes, amount->bytes);
	if (amount->syns)
		__sync_fetch_and_add(&known->syns, amount->syns);
}

/* netif_receive_skb(skb): skb->data is at the network header; after GRO, and before anything decides over the packet */
int packet_received(struct bpf_raw_tracepoint_args *ctx)
{
#ifndef SCOPE_BY_PROCESS /* whose these packets are is not known */
	void *skb = (void *)ctx->args[0], *device = 0, *net = 0;
	u32 flags = 0, length = 0, paged = 0, end = 0, linear, header_bytes;
	struct source_packets amount = {};
	struct packet_source source = {};
	struct packet_head head = {};
	u64 data = 0, buffer = 0;
	u16 protocol = 0, segments = 0;
	u8 type = 0, *bytes = head.bytes;

	LOAD(device, skb, OFFSET_sk_buff_dev);
	LOAD(flags, device, OFFSET_net_device_flags);
	READ(type, skb, OFFSET_sk_buff_pkt_type);
	if (flags & IFF_LOOPBACK || (type & 7) == PACKET_LOOPBACK)
		return 0;
	LOAD(protocol, skb, OFFSET_sk_buff_protocol);
	LOAD(data, skb, OFFSET_sk_buff_data);
	LOAD(length, skb, OFFSET_sk_buff_len);
	LOAD(paged, skb, OFFSET_sk_buff_data_len);
	linear = length - paged;
	if (protocol == ETH_P_8021Q || protocol == ETH_P_8021AD) { /* a tag that the device has not taken out */
		READ(protocol, data, 2);
		data += VLAN_TAG_BYTES;
		length -= VLAN_TAG_BYTES;
		linear -= VLAN_TAG_BYTES;
	}
	if (protocol != ETH_P_IP && protocol != ETH_P_IPV6)
		return 0;
	LOAD(net, device, OFFSET_net_device_nd_net_net);
	LOAD(source.netns, net, OFFSET_net_ns_inum);
	if (!netns_in_scope(source.netns))
		return 0;
	LOAD(source.ifindex, device, OFFSET_net_device_ifindex);
	LOAD(buffer, skb, OFFSET_sk_buff_head);
	LOAD(end, skb, OFFSET_sk_buff_end);
	READ(segments, buffer + end, OFFSET_skb_shared_info_gso_segs);
	amount.packets = segments ? segments : 1;
	/* more than a short packet has, but all of it is within the buffer and what the kernel keeps behind its end */
	if ((s32)linear < (protocol == ETH_P_IP ? 20 : 40) || read_kernel(&head, sizeof(head), (void *)data)) {
		count_loss(PACKETS_WITHOUT_HOST, amount.packets);
		return 0;
	}
	if (protocol == ETH_P_IP) {
		header_bytes = (bytes[0] & 15) << 2;
		((u64 *)source.address)[1] = MAPPED(*(u32 *)(bytes + 12));
		type = bytes[6] & 0x1f || bytes[7] ? 0 : bytes[9]; /* a later fragment has no transport header */
		flags = *(u16 *)(bytes + 32);
		if (header_bytes != 20) /* options, which hardly anybody sends */
			READ(*(u16 *)&flags, data + header_bytes, TCP_FLAGS_AT - 1);
	} else {
		header_bytes = 40;
		__builtin_memcpy(source.address, bytes + 8, ADDRESS_BYTES);
		type = bytes[6];
		flags = *(u16 *)(bytes + 52);
	}
	amount.bytes = length;
	if (type == IPPROTO_TCP && linear >= header_bytes + TCP_FLAGS_AT + 1) {
		amount.syns = (flags >> 8 & TCP_SYN_AND_ACK) == TCP_SYN_ONLY;
		header_bytes += (flags >> 4 & 15) << 2;
	} else {
		header_bytes += 8;
	}
	/* each packet of a bundle came with headers of its own */
	amount.bytes += (amount.packets - 1) * header_bytes;
	count_from(&source, device, &amount);
#endif
	return 0;
}
