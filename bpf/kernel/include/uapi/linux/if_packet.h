/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* BCC includes this by name; nothing in it is needed. */
