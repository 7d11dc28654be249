/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The packets that begin connections of QUIC (RFC 9000, RFC 9369): packets.c calls this for the first datagrams of a flow. They
 * are encrypted with keys that everybody on the path can derive; nettop does, and finds the name of the server there.
 * Compiled only if the setting `requests` is on.
 */
#define FIRST_DATAGRAMS 8 /* of a client: a hello takes two at most, and is sent again after a Retry, or where no answer comes */

/*
 * Whether a datagram may come before or with the client's hello: it is of the end that has said more than the other, or as much,
 * by the numbers of datagrams before it. What answers mostly is not.
 */
static __always_inline int is_of_beginning(u64 this_way, u64 other_way)
{
	return this_way < FIRST_DATAGRAMS && other_way <= this_way;
}

#ifdef REQUESTS

#define LEAST_DATAGRAM_BYTES 1200 /* of a client's that holds an Initial packet: RFC 9000 section 14.1 */
#define CAPTURED_DATAGRAM_BYTES 3000 /* two of 1500, which a client may send as one packet (GSO) */
#define INITIAL_COST 2 /* a datagram takes nettop longer than the head of a request does */

/* By the first byte and the version: RFC 9000 section 17.2.2, RFC 9369 section 3. */
static __always_inline int is_initial(u8 *start)
{
	u32 version = (u32)start[1] << 24 | start[2] << 16 | start[3] << 8 | start[4];

	return (start[0] >> 4 == 0xc && version == 1) || (start[0] >> 4 == 0xd && version == 0x6b3343cf);
}

/* Whether it is handed on. The scope comes before the limit, as for DNS. */
static __always_inline int may_list_initial(struct socket_entry *entry, u64 now_ns, int egress)
{
	u64 interval_ns = control(REQUEST_INTERVAL_NS) * INITIAL_COST;

	if (!owner_in_scope(entry, 0))
		return 0;
	if (may_pass(egress ? DUE_INITIALS_SENT : DUE_INITIALS_RECEIVED, now_ns, interval_ns, interval_ns * REQUESTS_AT_ONCE))
		return 1;
	count_loss(HANDSHAKES_LEFT_OUT, 1);
	return 0;
}

static __always_inline void list_initial(struct __sk_buff *skb, struct http_head *head)
{
	int refused;

	head->captured_bytes = head->payload_bytes < CAPTURED_DATAGRAM_BYTES ? head->payload_bytes : CAPTURED_DATAGRAM_BYTES;
	/* on a line of its own: BCC's rewriting adds a semicolon */
	refused = http_events.perf_submit_skb(skb, head->payload_offset + head->captured_bytes, head, sizeof(*head));
	if (refused) /* half of one is worth nothing: it could not be decrypted */
		count_loss(HANDSHAKES_LEFT_OUT, 1);
}

static __always_inline void take_initial(struct __sk_buff *skb, void *sk, struct socket_entry *entry, struct far_end *far,
					 u32 payload_offset, u32 payload_bytes, int egress)
{
	struct head_room *room;
	struct http_head *head;
	u8 start[8] = {};
	u64 now_ns;

	if (payload_bytes < LEAST_DATAGRAM_BYTES || bpf_skb_load_bytes(skb, payload_offset, start, 5) || !is_initial(start))
		return;
	now_ns = bpf_ktime_get_ns();
	if (!may_list_initial(entry, now_ns, egress))
		return;
	room = take_room_for(now_ns, entry->netns, payload_offset, payload_bytes);
	if (!room)
		return;
	head = &room->head;
	head->socket = (u64)sk;
	head->seen_ns = entry->seen_ns;
	head->kind = QUIC_INITIAL;
	head->egress = egress;
	head->number = skb->gso_size;
	head->family = AF_INET6;
	head->remote_port = far->port;
	((u64 *)head->remote_address)[0] = far->address[0];
	((u64 *)head->remote_address)[1] = far->address[1];
	list_initial(skb, head);
	give_room_back();
}

#endif
