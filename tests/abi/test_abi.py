"""bpf/abi.h against nettop/kernel/abi.py: names, offsets, sizes and constants, as the compiler sees them."""

import ctypes
import os
import re
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from nettop.kernel import abi
from nettop.kernel.compiler import import_bcc, source_directory

pytestmark = [pytest.mark.live, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: BCC makes maps")]

STRUCTS = ("socket_record", "dns_packet", "process_event", "spilled_head", "unlisted_key", "unlisted")
# What Python calls otherwise than C: everything of the owner, and what lies in the entry within a record.
OWNER = {f"owner.{name}": f"owner_{name}" for name in ("start_boot_ns", "pid", "uid", "comm")}
RENAMED = {
    **OWNER,
    **{f"process.{name}": f"owner_{name}" for name in ("start_boot_ns", "pid", "uid", "comm")},
    **{f"entry.{c_name}": name for c_name, name in OWNER.items()},
}
ONLY_THE_KERNELS = {
    "entry.reported_sum", "entry.reported_srtt", "entry.reported_state", "entry.reported_owner", "entry.kept_dropped",
    "entry.held_scan",
}  # fmt: skip
NOT_CONSTANTS_OF_BOTH = {
    "COMM_BYTES",  # in the layouts
    "ADDRESS_BYTES",
    "PROCESS_EVENT_HEAD_BYTES",
}


class Field(NamedTuple):
    name: str
    offset: int
    size: int


@pytest.fixture(scope="module")
def leaves() -> Iterator[dict[str, Any]]:
    """The structs as BCC gives them to Python: ctypes made from what clang compiled."""
    directory = source_directory()
    os.environ["BCC_KERNEL_SOURCE"] = str(directory / "kernel")
    text = '#include "abi.h"\n' + "".join(f"BPF_ARRAY(one_{name}, struct {name}, 1);\n" for name in STRUCTS)
    bpf = import_bcc().BPF(text=text.encode(), cflags=[f"-I{directory}", "-Wno-everything"])
    yield {name: bpf[f"one_{name}".encode()].Leaf for name in STRUCTS}
    bpf.cleanup()


def c_fields(structure: Any, prefix: str = "", base: int = 0) -> Iterator[Field]:
    for name, kind, *_ in structure._fields_:
        at = base + getattr(structure, name).offset
        if isinstance(kind, type) and issubclass(kind, ctypes.Structure):
            yield from c_fields(kind, f"{prefix}{name}.", at)
        elif not re.fullmatch(r"(__)?pad(_\d+)?", name):
            yield Field(prefix + name, at, ctypes.sizeof(kind))


def python_name(c_name: str) -> str:
    return RENAMED.get(c_name, c_name.removeprefix("entry."))


def python_fields(layout: struct.Struct, names: tuple[str, ...]) -> list[Field]:
    fields, at = [], 0
    left = list(names)
    for count, code in re.findall(r"(\d*)([A-Za-z])", layout.format):
        size = struct.calcsize(f"={code}")
        if code == "x":
            at += int(count or 1)
        elif code == "s":
            fields.append(Field(left.pop(0), at, int(count)))
            at += int(count)
        else:
            for _ in range(int(count or 1)):
                fields.append(Field(left.pop(0), at, size))
                at += size
    assert at == layout.size
    return fields


@pytest.mark.parametrize(
    ("name", "layout", "record", "elsewhere"),
    [
        ("socket_record", abi.SOCKET_RECORD, abi.SocketRecord, set()),
        ("dns_packet", abi.DNS_PACKET, abi.DnsPacket, {"payload"}),
        ("unlisted_key", abi.UNLISTED_KEY, abi.UnlistedKey, set()),
        ("unlisted", abi.UNLISTED, abi.Unlisted, set()),
    ],
)
def test_fields(
    leaves: dict[str, Any], name: str, layout: struct.Struct, record: type[Any], elsewhere: set[str]
) -> None:
    of_c = [field for field in c_fields(leaves[name]) if field.name not in ONLY_THE_KERNELS]
    names = tuple(field for field in record.__struct_fields__ if field not in elsewhere)
    assert [field._replace(name=python_name(field.name)) for field in of_c] == python_fields(layout, names)
    assert layout.size == ctypes.sizeof(leaves[name])


def test_fields_of_process_event(leaves: dict[str, Any]) -> None:
    *head, arguments = c_fields(leaves["process_event"])
    names = ("time_ns", "owner_start_boot_ns", "owner_pid", "owner_uid", "owner_comm", "kind", "arguments_bytes")
    assert [field._replace(name=python_name(field.name)) for field in head] == python_fields(abi.PROCESS_EVENT, names)
    assert arguments == Field("arguments", abi.PROCESS_EVENT.size, defines()["EXEC_ARGUMENT_BYTES"])
    assert abi.PROCESS_EVENT.size == defines()["PROCESS_EVENT_HEAD_BYTES"]
    assert (*names[:-1], "arguments") == abi.ProcessEvent.__struct_fields__


def test_head_of_a_spilled_record(leaves: dict[str, Any]) -> None:
    assert list(c_fields(leaves["spilled_head"])) == python_fields(abi.SPILLED_HEAD, ("buffer",))


def test_what_only_the_kernel_uses_is_there(leaves: dict[str, Any]) -> None:
    assert {field.name for field in c_fields(leaves["socket_record"])} >= ONLY_THE_KERNELS


def defines() -> dict[str, int]:
    text = (source_directory() / "abi.h").read_text()
    return {name: int(value) for name, value in re.findall(r"^#define (\w+) (\d+)\b", text, re.MULTILINE)}


def test_constants() -> None:
    of_c = {name: value for name, value in defines().items() if name not in NOT_CONSTANTS_OF_BOTH}
    assert len(of_c) >= 18
    assert {name: getattr(abi, name, None) for name in of_c} == of_c


def test_every_struct_is_compared() -> None:
    text = (source_directory() / "abi.h").read_text()
    assert set(re.findall(r"^struct (\w+) \{", text, re.MULTILINE)) == {*STRUCTS, "process_id", "socket_entry"}
