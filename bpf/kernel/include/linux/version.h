/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* BCC's prelude asks, and only decides by it which of its own helpers exist; no program of nettop depends on it. */
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))
#define LINUX_VERSION_CODE KERNEL_VERSION(6, 1, 0)
