/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Command lines, cgroups and ends of processes, from sched_process_exec and sched_process_exit, and the paths of cgroups that
 * are made: what lived for less than a tick cannot be looked up in /proc any more. Names need no help: they come with the
 * network events.
 */

/* argv is too long for the stack; exec runs in process context, so nothing can nest here */
BPF_PERCPU_ARRAY(process_scratch, struct process_event, 1);
BPF_PERCPU_ARRAY(cgroup_scratch, struct process_event, 1);

/* sched_process_exec(task, old_pid, binprm) */
int process_exec(struct bpf_raw_tracepoint_args *ctx)
{
	void *task = (void *)ctx->args[0], *mm = 0;
	u64 start = 0, end = 0, size; /* 64 bits wide: the verifier follows the bound only so */
	struct process_event *event;
	int zero = 0;

	event = process_scratch.lookup(&zero);
	if (!event)
		return 0;
	identify(&event->owner, task);
#ifdef SCOPE_PID
	if (!process_in_scope(&event->owner))
		return 0;
#endif
	event->time_ns = bpf_ktime_get_ns();
	event->cgroup = cgroup_of(task);
	event->cgroup_v1 = cgroup_v1_of(task);
	READ(mm, task, OFFSET_task_struct_mm);
	READ(start, mm, OFFSET_mm_struct_arg_start);
	READ(end, mm, OFFSET_mm_struct_arg_end);
	size = end - start;
	event->kind = size > EXEC_ARGUMENT_BYTES ? PROCESS_EXEC_CUT : PROCESS_EXEC;
	if (size > EXEC_ARGUMENT_BYTES)
		size = EXEC_ARGUMENT_BYTES;
	if (read_user(event->arguments, size, (void *)start))
		size = 0;
	event->arguments_bytes = size;
	spill_if_refused(process_events.perf_submit(ctx, event, PROCESS_EVENT_HEAD_BYTES + size), LOST_PROCESS_EVENTS,
			 event, sizeof(*event));
	return 0;
}

/* sched_process_exit(task, ...): runs for each thread; signal_struct.live is 0 once the last one goes */
int process_exit(struct bpf_raw_tracepoint_args *ctx)
{
	void *task = (void *)ctx->args[0], *signal = 0;
	struct {
		__u64 time_ns;
		struct process_id owner;
		__u64 cgroup;
		__u64 cgroup_v1;
		__u32 kind;
		__u32 arguments_bytes;
	} event = {};
	int live = 0;

#ifdef LOOKUPS
	lookup_thread_ended(ctx, task);
#endif
	READ(signal, task, OFFSET_task_struct_signal);
	READ(live, signal, OFFSET_signal_struct_live);
	if (live)
		return 0;
	identify(&event.owner, task);
#ifdef SCOPE_PID
	if (!process_in_scope(&event.owner))
		return 0;
#endif
	event.time_ns = bpf_ktime_get_ns();
	event.cgroup = cgroup_of(task); /* it leaves them later */
	event.cgroup_v1 = cgroup_v1_of(task);
	event.kind = PROCESS_EXIT;
	spill_if_refused(process_events.perf_submit(ctx, &event, sizeof(event)), LOST_PROCESS_EVENTS, &event,
			 sizeof(event));
	return 0;
}

#ifdef SCOPE_CGROUP
/* A cgroup that is to be watched: by its name, as a unit that is started again, or because what it was made in is. */
static __always_inline void watch_cgroup(void *cgroup, u64 id, u64 v1)
{
	struct cgroup_key key = {.id = id, .v1 = v1};
	struct cgroup_name name = {};
	void *parent = 0, *node = 0, *text = 0;
	u8 kinds, *named;

	READ(parent, cgroup, OFFSET_cgroup_self_parent);
	kinds = watched_as(cgroup_id((char *)parent - OFFSET_cgroup_self), v1);
	READ(node, cgroup, OFFSET_cgroup_kn);
	READ(text, node, OFFSET_kernfs_node_name);
	read_kernel_string(name.name, sizeof(name.name), text);
	named = scope_cgroup_name.lookup(&name);
	if (named)
		kinds |= *named;
	if (kinds)
		scope_cgroup.update(&key, &kinds);
}
#endif

/*
 * cgroup_mkdir(cgroup, path): before anybody can enter it. A unit or container may be gone, with its cgroup, when nettop
 * looks for the path that belongs to an id. Interrupts are off, so nothing can nest here.
 */
int cgroup_made(struct bpf_raw_tracepoint_args *ctx)
{
	void *cgroup = (void *)ctx->args[0], *root = 0;
	u32 hierarchy = 0;
	u64 id = cgroup_id(cgroup);
	struct process_event *event;
	int zero = 0, length;

	READ(root, cgroup, OFFSET_cgroup_root);
	READ(hierarchy, root, OFFSET_cgroup_root_hierarchy_id);
	if (hierarchy && hierarchy != control(PIDS_HIERARCHY))
		return 0;
#ifdef SCOPE_CGROUP
	watch_cgroup(cgroup, id, hierarchy != 0);
#endif
	event = cgroup_scratch.lookup(&zero);
	if (!event)
		return 0;
	event->time_ns = bpf_ktime_get_ns();
	event->cgroup = hierarchy ? 0 : id;
	event->cgroup_v1 = hierarchy ? id : 0;
	event->kind = CGROUP_MADE;
	length = read_kernel_string(event->arguments, EXEC_ARGUMENT_BYTES, (void *)ctx->args[1]);
	event->arguments_bytes = length > 0 ? length : 0;
	spill_if_refused(process_events.perf_submit(ctx, event, sizeof(*event)), LOST_PROCESS_EVENTS, event,
			 sizeof(*event));
	return 0;
}
