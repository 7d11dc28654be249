/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* BCC's ring buffer macro names it; nettop uses perf buffers. */
#define roundup_pow_of_two(n) ((n) <= 1 ? 1UL : 1UL << (64 - __builtin_clzl((unsigned long)(n) - 1)))
