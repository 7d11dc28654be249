/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* BCC's ring buffer macro sizes its map with it; nettop uses perf buffers. */
#ifndef PAGE_SIZE
#define PAGE_SIZE 4096UL
#endif
