"""`nettop doctor`: what this kernel allows, which hook serves which need, what is missing and how to mend it."""

import os
import platform
from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from nettop import __version__
from nettop.errors import CannotRunError, NettopError
from nettop.kernel import compiler, program, syscalls
from nettop.kernel.btf import VMLINUX, Btf
from nettop.kernel.image_cache import fresh_image
from nettop.kernel.privileges import ATTACHING, holds, libcap_ng
from nettop.kernel.scope import Scope
from nettop.limits import require_room
from nettop.model.rows import Row

_NEEDS = {
    "dns_queries": "DNS queries, and UDP bytes sent",
    "dns_answers": "DNS answers, and UDP bytes received",
    "tcp_connections": "TCP connections: open, end, owner",
    "udp_bytes": "UDP bytes of sockets that were closed",
    "live_counters": "bytes, round-trip time and retransmits of open connections",
    "older_sockets": "connections older than nettop, owners of accepted ones",
    "process_starts": "command lines of short-lived processes",
    "process_ends": "ends of processes",
}


class Check(Row, frozen=True, gc=False, kw_only=True):
    """One thing that the main job needs. "skipped": could not be tried because an earlier check failed."""

    need: str
    mechanism: str
    status: Literal["ok", "missing", "skipped"]
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


def examine() -> Report:
    """Try everything that the main job does, and take it all back."""
    checks = tuple(_checks())
    return Report(
        nettop=__version__,
        kernel=platform.release(),
        arch=platform.machine(),
        can_run=all(check.status == "ok" for check in checks),
        checks=checks,
    )


def report_json(report: Report) -> bytes:
    """The report as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n"


def report_text(report: Report) -> str:
    """The report for a person."""
    lines = [f"nettop {report.nettop} on Linux {report.kernel} ({report.arch})", ""]
    marks = {"ok": "ok     ", "missing": "MISSING", "skipped": "-      "}
    for check in report.checks:
        lines.append(f"{marks[check.status]}  {check.need}")
        lines.append(f"         {check.mechanism}{': ' + check.detail if check.detail else ''}")
        if check.remedy:
            lines.append(f"         what to do: {check.remedy}")
    lines.append("")
    lines.append("nettop can run here." if report.can_run else "nettop cannot run here until the above is mended.")
    return "\n".join(lines) + "\n"


def _checks() -> Iterator[Check]:
    basics = [
        *_capabilities(),
        _check("a way to give up what is not needed any more", "libcap-ng", _libcap_ng),
        _check("room for files and memory", "resource limits", _room),
        _check("a processor that nettop knows", "bpf(2)", _architecture),
        _check("a way to compile and load programs", "the Python module bcc", _bcc),
        _check("the layout of the kernel's structures", f"BTF, {VMLINUX}", _btf),
        _check("a place to watch every process's packets from", "the root of cgroup2", _cgroup2),
    ]
    yield from basics
    if any(check.status != "ok" for check in basics):
        for hook in program.HOOKS:
            yield Check(need=_NEEDS[hook.need], mechanism=hook.mechanism, status="skipped")
        return
    yield from _hooks()


def _check(need: str, mechanism: str, trial: Callable[[], str]) -> Check:
    try:
        return Check(need=need, mechanism=mechanism, status="ok", detail=trial())
    except NettopError as error:
        return Check(need=need, mechanism=mechanism, status="missing", detail=error.message, remedy=error.remedy)


def _capabilities() -> Iterator[Check]:
    for capability in ATTACHING:
        yield Check(
            need=f"permission: {capability.need}",
            mechanism=capability.name,
            status="ok" if holds(capability) else "missing",
            detail="held" if holds(capability) else "not held",
            remedy="" if holds(capability) else f"Run it as root: sudo nettop; or give it {capability.name}.",
        )


def _libcap_ng() -> str:
    libcap_ng()
    return "found"


def _room() -> str:
    require_room()
    return "enough"


def _architecture() -> str:
    if not syscalls.supported_architecture():
        raise CannotRunError(
            f"nettop does not know {platform.machine()}.", "Run it on x86_64 or aarch64 (64-bit Python)."
        )
    return platform.machine()


def _bcc() -> str:
    return compiler.bcc_version()


def _btf() -> str:
    Btf.of_running_kernel()
    return "readable"


def _cgroup2() -> str:
    os.close(program.open_cgroup2())
    return "found"


def _hooks() -> Iterator[Check]:
    try:
        kernel = program.KernelProgram(Scope(), fresh_image(program.defines(Scope())))
        cgroup = program.open_cgroup2()
    except NettopError as error:
        yield Check(need="compiling", mechanism="bcc", status="missing", detail=error.message, remedy=error.remedy)
        return
    try:

        def buffers() -> str:
            kernel.open_buffers()
            return "can be locked in memory"

        yield _check("room for what the kernel tells", "perf buffers", buffers)
        for hook in program.HOOKS:

            def trial(hook: program.Hook = hook) -> str:
                kernel.attach_hook(hook, cgroup)
                return "loads and attaches"

            yield _check(_NEEDS[hook.need], hook.mechanism, trial)
    finally:
        kernel.close()
        os.close(cgroup)
