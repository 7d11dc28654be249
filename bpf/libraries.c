/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Which processes have which C and TLS libraries mapped, and which program they run, from the iterator over mappings (Linux 5.12): the inode is the one that a
 * uprobe is on, which /proc/PID/maps does not tell of overlayfs, and later it can be read without privileges.
 */

#if defined(LOOKUPS) || defined(DECRYPT)
#define VM_EXEC 4 /* include/linux/mm.h */

struct task_vma_context {
	struct iterator_meta *meta;
	void *task;
	void *vma;
};

#ifdef LOOKUPS
/* libc.so.6, libc-2.31.so, ld-musl-x86_64.so.1, libc.so */
static __always_inline int is_c_library(const char *name)
{
	return name[0] == 'l' && ((name[1] == 'i' && name[2] == 'b' && name[3] == 'c' && (name[4] == '.' || name[4] == '-')) ||
				  (name[1] == 'd' && name[2] == '-' && name[3] == 'm' && name[4] == 'u'));
}
#endif

#ifdef DECRYPT
/* libssl.so.3, libgnutls.so.30.34.3; node, which nettop has mapped itself to find it before anybody runs it */
static __always_inline int is_tls_library(const char *name)
{
	return (name[0] == 'l' && name[1] == 'i' && name[2] == 'b' &&
		((name[3] == 's' && name[4] == 's' && name[5] == 'l') ||
		 (name[3] == 'g' && name[4] == 'n' && name[5] == 'u' && name[6] == 't'))) ||
	       (name[0] == 'n' && name[1] == 'o' && name[2] == 'd' && name[3] == 'e' && !name[4]);
}

/* Which may have a TLS library in itself. */
static __always_inline int is_program_of(u64 task, void *file)
{
	void *memory = 0, *program = 0, *inode = 0, *other = 0;

	READ(memory, task, OFFSET_task_struct_mm);
	READ(program, memory, OFFSET_mm_struct_exe_file);
	READ(inode, program, OFFSET_file_f_inode);
	READ(other, file, OFFSET_file_f_inode);
	return inode && inode == other;
}
#endif

int bpf_iter__task_vma(struct task_vma_context *ctx)
{
	void *task = ctx->task, *vma = ctx->vma, *file = 0, *dentry = 0, *name = 0, *inode = 0, *block = 0;
	u64 task_address = (u64)task, at = (u64)vma, flags = 0;
	struct library_record record = {};
	int wanted = 0;

	if (!task || !vma)
		return 0;
	READ(file, at, OFFSET_vm_area_struct_vm_file);
	READ(flags, at, OFFSET_vm_area_struct_vm_flags);
	if (!file || !(flags & VM_EXEC))
		return 0;
	READ(dentry, file, OFFSET_file_f_path_dentry);
	READ(name, dentry, OFFSET_dentry_d_name_name);
	read_kernel_string(record.name, sizeof(record.name), name);
#ifdef LOOKUPS
	wanted |= is_c_library(record.name);
#endif
#ifdef DECRYPT
	wanted |= is_tls_library(record.name);
	record.executable = is_program_of(task_address, file);
	wanted |= record.executable;
#endif
	if (!wanted)
		return 0;
	READ(record.begins, at, OFFSET_vm_area_struct_vm_start);
	READ(record.ends, at, OFFSET_vm_area_struct_vm_end);
	READ(inode, file, OFFSET_file_f_inode);
	READ(record.inode, inode, OFFSET_inode_i_ino);
	READ(block, inode, OFFSET_inode_i_sb);
	READ(record.device, block, OFFSET_super_block_s_dev);
	READ(record.file_system, block, OFFSET_super_block_s_magic);
	identify(&record.owner, (void *)task_address);
	seq_write(ctx->meta->seq, &record, sizeof(record));
	return 0;
}
#endif
