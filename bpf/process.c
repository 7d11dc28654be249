/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Command lines and ends of processes, from sched_process_exec and sched_process_exit: what lived for less than a tick
 * cannot be looked up in /proc any more. Names need no help: they come with the network events.
 */

/* argv is too long for the stack; exec runs in process context, so nothing can nest here */
BPF_PERCPU_ARRAY(process_scratch, struct process_event, 1);

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
		__u32 kind;
		__u32 arguments_bytes;
	} event = {};
	int live = 0;

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
	event.kind = PROCESS_EXIT;
	spill_if_refused(process_events.perf_submit(ctx, &event, sizeof(event)), LOST_PROCESS_EVENTS, &event,
			 sizeof(event));
	return 0;
}
