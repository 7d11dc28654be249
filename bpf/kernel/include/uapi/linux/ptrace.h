/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
#ifndef NETTOP_PTRACE_H
#define NETTOP_PTRACE_H

/* The kernel's register frame, by the names that BCC's PT_REGS_* macros use. */
#if defined(__x86_64__) || defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};
#elif defined(__aarch64__) || defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
	unsigned long long regs[31], sp, pc, pstate;
};
struct pt_regs {
	union {
		struct user_pt_regs user_regs;
		struct {
			unsigned long long regs[31], sp, pc, pstate;
		};
	};
	unsigned long long orig_x0;
};
#endif

#endif
