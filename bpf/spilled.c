/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Records of CPUs that have no perf buffer. The kernel ends a CPU's perf events when it goes off, as all but one do when
 * the machine sleeps, and to open new ones takes the privileges that nettop has given up by then. So there is a ring
 * buffer, which belongs to no CPU, beside the perf buffers, which cost less while many CPUs write.
 */

#define ENOSPC 28 /* the perf buffer is there, and full */
/* Of a DNS message, powers of two: RFC 1035 section 2.3.4, and what a longer one is cut to. */
#define USUAL_DNS_BYTES 512
#define LONG_DNS_BYTES 4096

BPF_RINGBUF_OUTPUT(spilled, 16); /* how large it is is said when it is loaded; here whole pages, of 64 KB too */

/*
 * What becomes of a record that a perf buffer took (0) or refused: where that buffer is not merely full, the record goes
 * into `spilled`; where that is impossible too, it is lost. `buffer` is the LOST_* of the buffer, `bytes` a constant.
 */
static __always_inline void spill_if_refused(int refused, int buffer, const void *record, u32 bytes)
{
	struct spilled_head *head;

	if (!refused)
		return;
	head = refused == -ENOSPC ? 0 : spilled.ringbuf_reserve(sizeof(*head) + bytes);
	if (!head) {
		count_loss(buffer, 1);
		return;
	}
	head->buffer = buffer;
	read_kernel(head + 1, bytes, record);
	spilled.ringbuf_submit(head, BPF_RB_NO_WAKEUP);
}

/* The record and `room` bytes, a power of two that its payload fits into. Returns whether there was room for it. */
static __always_inline int spill_dns_into(u32 room, struct __sk_buff *skb, struct dns_packet *record, u32 offset, u64 bytes)
{
	struct spilled_head *head = spilled.ringbuf_reserve(sizeof(*head) + sizeof(*record) + room);
	struct dns_packet *copy = (void *)(head + 1);

	if (!head)
		return 0;
	head->buffer = LOST_DNS_EVENTS;
	read_kernel(copy, sizeof(*copy), record);
	/* between 1 and `room` as it is; only so does every kernel's verifier see it */
	asm volatile("%0 += -1\n%0 &= %1\n%0 += 1" : "+r"(bytes) : "r"((u64)room - 1));
	if (bpf_skb_load_bytes(skb, offset, copy + 1, bytes)) {
		spilled.ringbuf_discard(head, BPF_RB_NO_WAKEUP);
		return 0;
	}
	spilled.ringbuf_submit(head, BPF_RB_NO_WAKEUP);
	return 1;
}

/* spill_if_refused() for a record that the packet belongs to. The payload follows at once, without the packet's headers. */
static __always_inline void spill_dns(int refused, struct __sk_buff *skb, struct dns_packet *record)
{
	u32 offset = record->payload_offset, bytes = record->payload_bytes;
	int done = 0;

	record->payload_offset = 0;
	record->captured_bytes = bytes < LONG_DNS_BYTES ? bytes : LONG_DNS_BYTES;
	if (refused != -ENOSPC && bytes <= USUAL_DNS_BYTES)
		done = spill_dns_into(USUAL_DNS_BYTES, skb, record, offset, bytes);
	else if (refused != -ENOSPC)
		done = spill_dns_into(LONG_DNS_BYTES, skb, record, offset, record->captured_bytes);
	if (!done)
		count_loss(LOST_DNS_EVENTS, 1);
}
