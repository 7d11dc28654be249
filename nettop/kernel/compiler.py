"""Compiles bpf/ with BCC in a child process, so that the 100 MB of a compiler are given back when it exits."""

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import suppress
from ctypes import c_char_p, c_size_t, c_void_p
from pathlib import Path
from typing import Any

import msgspec

from nettop.errors import CannotRunError
from nettop.kernel import reasons, syscalls
from nettop.kernel.btf import Btf, BtfError
from nettop.kernel.compiled import CompiledPrograms, unlinked
from nettop.kernel.hooks import CUT_HOOKS, HOOKS, LIBRARIES
from nettop.kernel.perf_buffers import BCC_PACKAGE, library_file
from nettop.kernel.trust import require_trusted_sources
from nettop.signals import ENDING

_SOURCES = (
    "common.c",
    "spilled.c",
    "unlisted.c",
    "drops.c",
    "turns.c",
    "blocks.c",
    "connect.c",
    "tcp.c",
    "uprobes.c",
    "lookups.c",
    "dns.c",
    "requests.c",
    "plaintext.c",
    "bodies.c",
    "answers.c",
    "http2.c",
    "plaintext_frames.c",
    "plaintext_go.c",
    "databases.c",
    "quic.c",
    "packets.c",
    "process.c",
    "sources.c",
    "passes.c",
    "libraries.c",
)
_COMPILER = "libbcc.so.0"
# Where clang and BCC would look for what to compile besides what they are given, and for which processor.
_NOT_OURS = (
    "ARCH",
    "BCC_KERNEL_MODULES_SUFFIX",
    "BCC_LINUX_VERSION_CODE",
    "COMPILER_PATH",
    "CPATH",
    "C_INCLUDE_PATH",
    "LIBRARY_PATH",
    "RC_DEBUG_OPTIONS",
    "SDKROOT",
)
_OFFSETS = {
    "task_struct": (
        "group_leader",
        "cred",
        "tgid",
        "start_boottime",
        "comm",
        "mm",
        "signal",
        "flags",
        "files",
        "cgroups",
    ),
    "css_set": ("dfl_cgrp", "subsys"),
    "cgroup_subsys_state": ("cgroup",),
    "cgroup": ("kn", "root", "self", "self.parent"),
    "cgroup_root": ("hierarchy_id",),
    "kernfs_node": ("id", "name"),
    "files_struct": ("fdt",),
    "fdtable": ("max_fds", "fd"),
    "cred": ("uid",),
    "mm_struct": ("arg_start", "arg_end"),
    "signal_struct": ("live",),
    "net": ("ns.inum",),
    "sock_common": (
        "skc_family",
        "skc_state",
        "skc_dport",
        "skc_daddr",
        "skc_rcv_saddr",
        "skc_v6_daddr",
        "skc_v6_rcv_saddr",
        "skc_net",
        "skc_flags",
        "skc_cookie",
        "skc_hash",
        "skc_num",
    ),
    "sock": (
        "sk_type",
        "sk_protocol",
        "sk_err",
        "sk_lock.owned",
        "sk_socket",
        "sk_drops",
        "sk_ack_backlog",
        "sk_max_ack_backlog",
        "sk_reuseport_cb",
    ),
    "inet_sock": ("inet_sport",),
    "tcp_sock": (
        "bytes_sent",
        "bytes_retrans",
        "bytes_received",
        "srtt_us",
        "total_retrans",
        "write_seq",
        "snd_una",
        "snd_nxt",
        "rcv_nxt",
        "copied_seq",
        "snd_wnd",
        "snd_cwnd",
        "snd_ssthresh",
        "mss_cache",
        "rcv_ooopack",
        "chrono_start",
        "chrono_stat",
        "segs_out",
        "segs_in",
    ),
    "inet_connection_sock": (
        "icsk_retransmits",
        "icsk_backoff",
        "icsk_accept_queue.qlen",
        "icsk_accept_queue.fastopenq.max_qlen",
        "icsk_accept_queue.rskq_accept_head",
    ),
    "request_sock": ("sk", "dl_next"),
    "sk_buff": (
        "dev",
        "protocol",
        "data",
        "len",
        "data_len",
        "head",
        "end",
        "pkt_type",
        "network_header",
        "sk",
        "skb_iif",
        "cb",
    ),
    "tcp_skb_cb": ("seq", "end_seq", "tcp_flags"),
    "skb_shared_info": ("gso_segs",),
    "net_device": ("name", "flags", "ifindex", "nd_net.net"),
    "file": ("f_inode", "private_data"),
    "inode": ("i_mode",),
    "socket": ("sk", "file"),
}
_Members = Mapping[str, tuple[str, ...]]
_BITS: _Members = {"sock": ("sk_kern_sock",), "tcp_sock": ("chrono_type",)}
# Structures and bits that only some kernels have: each group is defined as a whole or not at all.
_OPTIONAL: tuple[tuple[_Members, _Members], ...] = (
    ({"sock": ("sk_drop_counters",), "numa_drop_counters": ("drops0", "drops1")}, {}),  # Linux 6.18
    ({"file": ("f_ref",)}, {}),  # Linux 6.13, instead of
    ({"file": ("f_count",)}, {}),
    (  # CONFIG_MPTCP
        {
            "mptcp_sock": ("first", "conn_list"),
            "mptcp_subflow_context": ("node", "tcp_sock", "conn"),
            "inet_connection_sock": ("icsk_ulp_data",),
        },
        {"tcp_sock": ("is_mptcp",)},
    ),
    (  # CONFIG_NF_CONNTRACK
        {
            "sk_buff": ("_nfct",),
            "nf_conn": ("tuplehash", "status"),
            "nf_conntrack_tuple_hash": ("tuple.dst.u3", "tuple.dst.u"),
        },
        {},
    ),
    (  # for bpf/lookups.c, which is only compiled where it is asked for
        {
            "task_struct": ("pid", "nsproxy"),
            "nsproxy": ("net_ns",),
            "vm_area_struct": ("vm_start", "vm_end", "vm_flags", "vm_file"),
            "file": ("f_path.dentry",),
            "dentry": ("d_name.name",),
            "mm_struct": ("exe_file",),
            "inode": ("i_ino", "i_sb"),
            "super_block": ("s_dev", "s_magic"),
        },
        {},
    ),
    ({"task_struct": ("thread.fsbase",)}, {}),  # x86-64, for bpf/plaintext_go.c
)
# Enumerators whose number is not the same everywhere, by their enum; some kernels lack them.
_ENUMERATORS = {"cgroup_subsys_id": ("pids_cgrp_id",)}  # CONFIG_CGROUP_PIDS
# Functions of the kernel that only some have, each for what came with it.
HAS_GET_RETVAL = "cgroup_common_func_proto"  # Linux 6.1: bpf_get_retval() in every program on a cgroup
_FUNCTIONS = (HAS_GET_RETVAL,)
SOCK_DESTROY = "bpf_sock_destroy"  # Linux 6.5
_KFUNCS = (SOCK_DESTROY,)  # that programs call, where there are
# So many arguments a raw tracepoint has with what came last (bpf/drops.c).
WITH_RESET_REASON, WITH_RECEIVING_SOCKET = 3, 4


class _Failure(msgspec.Struct, frozen=True, tag="failure"):
    message: str
    remedy: str
    details: str


def ingredients() -> Iterator[str]:
    """Everything that goes into the compiled programs beside the kernel and the -D."""
    directory = source_directory()
    for file in sorted(directory.rglob("*.[ch]")):
        yield str(file.relative_to(directory))
        yield file.read_text()
    yield repr((_SOURCES, _OFFSETS, _BITS, _OPTIONAL, _ENUMERATORS, _FUNCTIONS, _KFUNCS))
    yield repr([(hook.mechanism, hook.program, hook.since) for hook in (*HOOKS, LIBRARIES, *CUT_HOOKS)])


def compile_apart(defines: tuple[str, ...]) -> CompiledPrograms:
    """compile_here() in a child process that ends with it. Raises CannotRunError."""
    ours, theirs = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(ours)  # or what nobody reads any more would be written for ever
        _answer(theirs, defines, parent)
    os.close(theirs)
    try:
        with os.fdopen(ours, "rb") as pipe:
            raw = pipe.read()
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        _, status = os.waitpid(child, 0)
    if status:
        raise CannotRunError(
            f"The compiler of the kernel programs ended with status {status}.",
            "Look for a lack of memory ('dmesg'), and run 'nettop doctor'.",
        )
    outcome = msgspec.msgpack.decode(raw, type=CompiledPrograms | _Failure)
    if isinstance(outcome, _Failure):
        raise CannotRunError(outcome.message, outcome.remedy, outcome.details)
    return outcome


def compile_here(defines: tuple[str, ...]) -> CompiledPrograms:
    """Compile with these -D besides the running kernel's offsets. Raises CannotRunError; may print on stderr."""
    bcc = import_bcc()
    directory = source_directory()
    require_trusted_sources(directory)
    for name in _NOT_OURS:
        os.environ.pop(name, None)
    os.environ["BCC_KERNEL_SOURCE"] = str(directory / "kernel")
    btf = Btf.of_running_kernel()
    names = reasons.enumerators(btf)
    kfuncs = dict(_kfuncs(btf))
    flags = [
        *defines,
        *_offsets(btf),
        *_arguments(btf),
        *reasons.defines(names),
        *(f"-DBTF_ID_{name}={type_id}" for name, type_id in kfuncs.items()),
        f"-I{directory}",
        "-nostdinc",
        "-Wno-everything",
        "-g0",  # BCC asks for debug information, of which nothing is loaded: a sixth of the time
    ]
    module = bcc.BPF(text=joined_source(directory).encode(), cflags=flags)
    library = bcc.libbcc.lib
    library.bpf_table_name.restype = c_char_p
    library.bpf_table_name.argtypes = library.bpf_table_fd_id.argtypes = (c_void_p, c_size_t)
    map_names = {
        library.bpf_table_fd_id(module.module, index): library.bpf_table_name(module.module, index).decode()
        for index in range(library.bpf_num_tables(module.module))
    }
    programs = [library.bpf_function_name(module.module, n) for n in range(library.bpf_num_functions(module.module))]
    return CompiledPrograms(
        maps={name: syscalls.map_shape(descriptor) for descriptor, name in map_names.items()},
        programs={name.decode(): unlinked(module.dump_func(name), map_names, kfuncs.values()) for name in programs},
        attach_types=dict(_attach_types(btf)),
        enumerators=names,
    )


def _answer(pipe: int, defines: tuple[str, ...], parent: int) -> None:
    """The child: compile, write the outcome, end without any of the parent's clean-up."""
    try:
        syscalls.die_with(parent)
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)  # the parent decides, who may want to write what there is
        said = os.memfd_create("compiler")  # libbcc and clang offer no other way to their words
        os.dup2(said, 2)
        try:
            outcome: CompiledPrograms | _Failure = compile_here(defines)
        except CannotRunError as error:
            outcome = _Failure(error.message, error.remedy, error.details)
        except Exception as error:  # noqa: BLE001 - BCC raises nothing else
            outcome = _Failure(
                "The kernel programs could not be compiled or their maps not be made.",
                "Run as root, and run 'nettop doctor'; --debug shows what the compiler and the kernel said.",
                f"{error}\n{Path('/proc/self/fd/2').read_text(errors='replace')}",
            )
        with os.fdopen(pipe, "wb") as file:
            file.write(msgspec.msgpack.encode(outcome))
        os._exit(0)
    finally:
        os._exit(1)


def compiler_identity() -> str:
    """Another one when another BCC is installed. Raises CannotRunError."""
    library = library_file()
    compiler = library.with_name(_COMPILER)  # of the same package; to load it and ask takes a tenth of a second
    file = (compiler if compiler.exists() else library).resolve()
    status = file.stat()
    return f"{file} {status.st_ino} {status.st_size} {status.st_mtime_ns}"


def bcc_version() -> str:
    """The version of BCC. Raises CannotRunError if it is not there."""
    return str(getattr(import_bcc(), "__version__", "version unknown"))


def import_bcc() -> Any:
    """The module bcc. Raises CannotRunError if the distribution's is not there."""
    try:
        import bcc  # noqa: PLC0415 - slow and large, and mostly not needed

        _ = bcc.BPF, bcc.libbcc
    except (ImportError, AttributeError) as error:
        raise CannotRunError(
            f"The Python module bcc cannot be imported: {error}.",
            f"{BCC_PACKAGE} PyPI's 'bcc' is an unrelated package; uninstall it if it is there.",
        ) from error
    return bcc


def source_directory() -> Path:
    """Where the BPF sources are: inside the installed package, or beside it in the tree."""
    package = Path(__file__).resolve().parent.parent
    for directory in (package / "bpf", package.parent / "bpf"):
        if (directory / "abi.h").is_file():
            return directory
    raise CannotRunError("The BPF sources that belong to nettop are missing.", "Install nettop again.")


def joined_source(directory: Path) -> str:
    """One translation unit, because BCC rewrites map accesses in the main file only; #line keeps messages true."""
    parts = [f'#line 1 "{name}"\n{(directory / name).read_text()}' for name in _SOURCES]
    return "\n".join(parts)


def _attach_types(btf: Btf) -> Iterator[tuple[str, int]]:
    for hook in (*HOOKS, LIBRARIES, *CUT_HOOKS):
        try:
            type_id = hook.kind.btf_type(btf, hook.target)
        except BtfError:
            if not hook.since:
                raise
        else:
            if type_id is not None:
                yield hook.target, type_id


def kernel_functions() -> dict[str, int] | None:
    """Those that programs call, as far as there are: BTF type ids. None if the kernel has no BTF."""
    with suppress(CannotRunError):
        return dict(_kfuncs(Btf.of_running_kernel()))
    return None


def _kfuncs(btf: Btf) -> Iterator[tuple[str, int]]:
    for name in _KFUNCS:
        with suppress(BtfError):
            yield name, btf.function(name)


def _arguments(btf: Btf) -> Iterator[str]:
    """Of the raw tracepoints to which later kernels have given more."""
    for name in ("kfree_skb", "tcp_send_reset"):
        yield f"-DARGUMENTS_{name}={btf.raw_tracepoint_arguments(name)}"


def _offsets(btf: Btf) -> Iterator[str]:
    yield from _layout(btf, _OFFSETS, _BITS)
    for structures, bits in _OPTIONAL:
        with suppress(BtfError):
            yield from tuple(_layout(btf, structures, bits))
    for enum, names in _ENUMERATORS.items():
        for number, name in btf.enumerators(enum).items():
            if name in names:
                yield f"-DNUMBER_{name}={number}"
    for function in _FUNCTIONS:
        with suppress(BtfError):
            btf.function(function)
            yield f"-DKERNEL_HAS_{function}"


def _layout(btf: Btf, structures: _Members, bits: _Members) -> Iterator[str]:
    for structure, members in structures.items():
        for member in members:
            yield f"-DOFFSET_{structure}_{member.replace('.', '_')}={btf.offset(structure, member)}"
    for structure, members in bits.items():
        for member in members:
            offset, mask = btf.bit(structure, member)
            yield f"-DOFFSET_{structure}_{member}={offset}"
            yield f"-DMASK_{structure}_{member}={mask}"
