"""`nettop doctor`: what this kernel supports, which hook serves which need, what is missing and how to fix it."""

import os
import platform
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, NamedTuple, Protocol

import msgspec

from nettop import __version__
from nettop.errors import CannotRunError, NettopError
from nettop.kernel import compiler, program, syscalls, uretprobes
from nettop.kernel.btf import VMLINUX, Btf, BtfError
from nettop.kernel.cage import SCOPED_SINCE, TCP_SINCE, has_seccomp
from nettop.kernel.compiled_cache import compile_and_keep, compiled_programs
from nettop.kernel.hooks import CLOSING, HOOKS, LOOKUPS, LOOKUPS_MECHANISM, PLAINTEXT_CALLS, PLAINTEXT_MECHANISM, Hook
from nettop.kernel.limits import require_room
from nettop.kernel.place import confinement, require_linux, require_readable_kernel, where_to_get_privileges
from nettop.kernel.privileges import ATTACHING, give_up_privileges, holds, libcap_ng
from nettop.kernel.scope import Scope
from nettop.model.cutting import Powers
from nettop.model.rows import Row
from nettop.sources.cutting import TOOLS, powers

_NEEDS_LINUX = "needs Linux {} or later; everything else works without it"
_NEEDS_OPTION = "needs a kernel with {}; everything else works without it"
_NEEDS_CAGE = "not refused to it: needs libseccomp (Debian: libseccomp2), or Linux 5.13 or later with Landlock"
_NOT_HERE = "{} Everything else works without it"
_MARKS = {"ok": "ok      ", "missing": "MISSING ", "absent": "absent  "}


class Check(Row, frozen=True, gc=False, kw_only=True):
    """One thing that nettop needs. "skipped": not tried, because an earlier check failed.

    "absent": this kernel does not have it, and nettop works without it.
    """

    need: str
    mechanism: str
    status: Literal["ok", "missing", "skipped", "absent"]
    detail: str = ""
    remedy: str = ""


class Report(Row, frozen=True, gc=False, kw_only=True):
    """The result of all checks."""

    schema: Literal["nettop.doctor/1"] = "nettop.doctor/1"
    nettop: str
    kernel: str
    arch: str
    can_run: bool
    checks: tuple[Check, ...]


def examine(when_compiling: Callable[[], None] = lambda: None) -> Report:
    """Try everything that watching needs, then undo it; `when_compiling` as in compiled_programs()."""
    checks = tuple(_checks(when_compiling))
    return Report(
        nettop=__version__,
        kernel=platform.release(),
        arch=platform.machine(),
        can_run=all(check.status in ("ok", "absent") for check in checks),
        checks=checks,
    )


def report_json(report: Report) -> bytes:
    """The report as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


def report_text(report: Report) -> str:
    """The report as text: the verdict first, then each need in plain words with its mechanism in brackets."""
    verdict = "can run here" if report.can_run else "cannot run here yet"
    lines = [f"nettop {report.nettop} {verdict} (Linux {report.kernel}, {report.arch}).", ""]
    for check in report.checks:
        if check.status != "skipped":
            mark = _MARKS[check.status]
            lines.append(f"{mark} {check.need}: {check.detail} ({check.mechanism})")
    skipped = [check.need for check in report.checks if check.status == "skipped"]
    if skipped:
        lines += ["", "Not tried, because of what is missing:", *(f"         {need}" for need in skipped)]
    remedies = dict.fromkeys(check.remedy for check in report.checks if check.remedy)
    if remedies:
        lines += ["", "What to do:", *(f"  - {remedy}" for remedy in remedies)]
    return "\n".join(lines) + "\n"


def _checks(when_compiling: Callable[[], None]) -> Iterator[Check]:
    basics = [
        _check("a Linux kernel", "uname", _kernel),
        *_capabilities(),
        _check("leave to read the kernel's memory", "kernel_lockdown", _lockdown),
        _check("a way to drop privileges", "libcap-ng", _libcap_ng),
        _check("limits on open files and memory", "resource limits", _room),
        _check("a supported processor", "bpf(2)", _architecture),
        _check("a compiler and loader for BPF programs", "the Python module bcc", _bcc),
        _check("the layout of kernel structures", f"BTF, {VMLINUX}", _btf),
        _check("a cgroup that contains every process", "the root of cgroup2", _cgroup2),
        _check("a view of the whole host", "namespaces", lambda: confinement() or "not confined to a container"),
    ]
    yield from basics
    yield _cage()
    yield closing(compiler.kernel_functions())
    yield commands(powers(allowed=False, closes=False))
    if any(check.status != "ok" for check in basics):
        for hook in HOOKS:
            yield Check(need=hook.words, mechanism=hook.mechanism, status="skipped")
        return
    when_compiling()
    yield from _hooks()


def _check(need: str, mechanism: str, trial: Callable[[], str]) -> Check:
    try:
        return Check(need=need, mechanism=mechanism, status="ok", detail=trial())
    except NettopError as error:
        return Check(need=need, mechanism=mechanism, status="missing", detail=error.message, remedy=error.remedy)


def _cage() -> Check:
    need, mechanism = "what nettop does not need once it has attached", "Landlock, seccomp"
    held = []
    if version := syscalls.landlock_version():
        also = "".join(
            f", {what}" for what, since in (("TCP", TCP_SINCE), ("signals", SCOPED_SINCE)) if version >= since
        )
        held.append(f"files{also} by Landlock (version {version})")
    if has_seccomp():
        held.append("sockets, other programs and more by a filter of system calls")
    if held:
        return Check(need=need, mechanism=mechanism, status="ok", detail=f"refused to it: {'; '.join(held)}")
    return Check(need=need, mechanism=mechanism, status="absent", detail=_NEEDS_CAGE)


def closing(functions: Mapping[str, int]) -> Check:
    """Whether the key x can close a connection where these functions of the kernel may be called."""
    can = compiler.SOCK_DESTROY in functions
    return Check(
        need="closing open TCP connections, with --allow-cut",
        mechanism=compiler.SOCK_DESTROY,
        status="ok" if can else "absent",
        detail="the kernel lets a program end them" if can else _NEEDS_LINUX.format(CLOSING.since),
    )


def commands(here: Powers) -> Check:
    """Which commands the key x can show."""
    ss = {True: "", False: "; the kernel does not let ss -K close", None: "; whether ss -K may close is not known"}
    without_ss = "ss" not in here.tools
    systemd = "" if here.has_systemd or "systemctl" not in here.tools else "; systemd does not run here"
    return Check(
        need="commands that cut off by hand (key x)",
        mechanism=", ".join(TOOLS),
        status="ok" if here.tools else "absent",
        detail=f"found: {', '.join(each for each in TOOLS if each in here.tools) or 'none'}"
        f"{'' if without_ss else ss[here.destroys]}{systemd}",
    )


def _absent(hook: Hook) -> Check:
    return Check(
        need=hook.words,
        mechanism=hook.mechanism,
        status="absent",
        detail=_NEEDS_LINUX.format(hook.since),
    )


class _Types(Protocol):
    def function(self, name: str) -> int: ...
    def offset(self, structure: str, path: str) -> int: ...
    def raw_tracepoint_arguments(self, name: str) -> int: ...


# What some kernels do not tell though the hook is there: the programs are compiled without it (kernel/compiler.py).
_TOLD: tuple[tuple[str, str, str, Callable[[_Types], object]], ...] = (
    (
        "whether another BPF program denied a connect(), or there was no route",
        "bpf_get_retval",
        _NEEDS_LINUX.format("6.1"),
        lambda btf: btf.function(compiler.HAS_GET_RETVAL),
    ),
    (
        "why resets are sent",
        "raw_tracepoint tcp_send_reset, reason",
        _NEEDS_LINUX.format("6.12"),
        lambda btf: btf.raw_tracepoint_arguments("tcp_send_reset") >= compiler.WITH_RESET_REASON,
    ),
    (
        "which socket refused a packet",
        "raw_tracepoint kfree_skb, rx_sk",
        _NEEDS_LINUX.format("6.12"),
        lambda btf: btf.raw_tracepoint_arguments("kfree_skb") >= compiler.WITH_RECEIVING_SOCKET,
    ),
    (
        "where NAT sends DNS queries",
        "struct nf_conn",
        _NEEDS_OPTION.format("CONFIG_NF_CONNTRACK"),
        lambda btf: btf.offset("nf_conn", "tuplehash") >= 0,
    ),
)


def what_is_told(btf: _Types) -> Iterator[Check]:
    """What a kernel with these types says beyond having the hooks."""
    for need, mechanism, lacks, is_told in _TOLD:
        try:
            told = bool(is_told(btf))
        except BtfError:
            told = False
        yield Check(need=need, mechanism=mechanism, status="ok" if told else "absent", detail="told" if told else lacks)


def _capabilities() -> Iterator[Check]:
    for capability in ATTACHING:
        yield Check(
            need=f"permission to {capability.need}",
            mechanism=capability.name,
            status="ok" if holds(capability) else "missing",
            detail="held" if holds(capability) else "not held",
            remedy="" if holds(capability) else where_to_get_privileges(),
        )


def _kernel() -> str:
    require_linux()
    return "found"


def _lockdown() -> str:
    require_readable_kernel()
    return "not locked down for confidentiality"


def _libcap_ng() -> str:
    libcap_ng()
    return "found"


def _room() -> str:
    require_room()
    return "high enough"


def _architecture() -> str:
    if not syscalls.supported_architecture():
        raise CannotRunError(
            f"nettop does not support {platform.machine()}.", "Run it on x86_64 or aarch64 (64-bit Python)."
        )
    return platform.machine()


def _bcc() -> str:
    return f"version {compiler.bcc_version()}"


def _btf() -> str:
    Btf.of_running_kernel()
    return "readable"


def _cgroup2() -> str:
    os.close(program.open_cgroup2())
    return "found"


def _hooks() -> Iterator[Check]:
    try:
        kernel = program.KernelProgram(Scope(), compile_and_keep(program.defines(Scope())))
        cgroup = program.open_cgroup2()
    except NettopError as error:
        yield Check(
            need="compiled BPF programs", mechanism="bcc", status="missing", detail=error.message, remedy=error.remedy
        )
        return
    try:

        def buffers() -> str:
            kernel.open_buffers()
            return "can be allocated"

        yield _check("buffers for kernel events", "perf buffers", buffers)
        for hook in HOOKS:
            if hook not in kernel.hooks:
                yield _absent(hook)
                continue

            def trial(hook: Hook = hook) -> str:
                kernel.attach_hook(hook, cgroup)
                return "loads and attaches"

            yield _check(hook.words, hook.mechanism, trial)
        yield from what_is_told(Btf.of_running_kernel())
    finally:
        kernel.close()
        os.close(cgroup)
    yield from opt_in()


class _Option(NamedTuple):
    """What is off unless asked for: one of the hooks that it needs, and how it is tried, which says how far it goes."""

    name: str
    hook: Hook
    mechanism: str
    trial: Callable[[program.KernelProgram], str]

    def check(self, status: Literal["ok", "absent"], detail: str) -> Check:
        return Check(need=f"{self.hook.words} ({self.name})", mechanism=self.mechanism, status=status, detail=detail)


def opt_in() -> Iterator[Check]:
    """What only the options --lookups and --decrypt need; compiled together, because that takes seconds."""
    returns = uretprobes.are_harmless()
    watched: program.Lookups = "with-returns" if returns else "without-returns"

    def lookups(kernel: program.KernelProgram) -> str:
        kernel.attach_lookups(returns)
        limit = "" if returns else ", but not to what comes of them: on this kernel that may kill sandboxed programs"
        return f"{_libraries(kernel.libraries_covered)}{later(kernel)}{limit}"

    def plaintext(kernel: program.KernelProgram) -> str:
        kernel.attach_plaintext()
        return f"{_libraries(kernel.tls_libraries_covered)}{later(kernel)}"

    def later(kernel: program.KernelProgram) -> str:
        unprivileged = kernel.may_attach_later(lambda: give_up_privileges(lambda: None, None))
        return " and to what replaces them" if unprivileged else ""

    options = (
        _Option("--lookups", LOOKUPS[0], LOOKUPS_MECHANISM, lookups),
        _Option("--decrypt", PLAINTEXT_CALLS[0], PLAINTEXT_MECHANISM, plaintext),
    )
    try:
        compiled = compiled_programs(program.defines(Scope(), lookups=watched, decrypt=True))
        kernel = program.KernelProgram(Scope(), compiled)
    except NettopError as error:
        yield from (each.check("absent", _NOT_HERE.format(error.message)) for each in options)
        return
    try:
        for each in options:
            try:
                kernel.load_opt_in(each.hook.need)
                yield each.check("ok", f"can be attached, to {each.trial(kernel)}")
            except NettopError as error:
                yield each.check("absent", _NOT_HERE.format(error.message))
    finally:
        kernel.close()


def _libraries(number: int) -> str:
    return f"{number} librar{'y' if number == 1 else 'ies'}"
