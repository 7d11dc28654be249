/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the programs of uprobes share: lookups.c and plaintext.c, which are compiled only where they are asked for.
 */

#if defined(LOOKUPS) || defined(DECRYPT)
#include <uapi/linux/ptrace.h>

#ifndef OFFSET_nsproxy_net_ns
#error "this kernel's types lack what uprobes need"
#endif

#if defined(__x86_64__) || defined(__TARGET_ARCH_x86)
#define RETURN_ADDRESS_BYTES 8
#else
#define RETURN_ADDRESS_BYTES 0
#endif

/* The same number, of which BCC forgets where it comes from: it would make a copy of all that is reached from there. */
static __always_inline u64 plain(u64 value)
{
	u64 copy;

	asm volatile("%0 = %1" : "=r"(copy) : "r"(value));
	return copy;
}

static __always_inline u64 thread_start(u64 task)
{
	u64 start_ns = 0;

	READ(start_ns, task, OFFSET_task_struct_start_boottime);
	return start_ns;
}

static __always_inline u32 netns_of_task(u64 task)
{
	void *proxy = 0, *net = 0;
	u32 inode = 0;

	READ(proxy, task, OFFSET_task_struct_nsproxy);
	READ(net, proxy, OFFSET_nsproxy_net_ns);
	READ(inode, net, OFFSET_net_ns_inum);
	return inode;
}
#endif
