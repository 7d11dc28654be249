"""bpf/abi.h against nettop/kernel/abi.py: names, offsets, sizes and constants, as the compiler sees them."""

import ctypes
import os
import re
import struct
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from nettop.kernel import abi, asked_sockets
from nettop.kernel.compiler import import_bcc, source_directory

pytestmark = [pytest.mark.live, pytest.mark.skipif(os.geteuid() != 0, reason="needs root: BCC makes maps")]


class Subject(NamedTuple):
    """A struct of C, the class that declares it for Python, and how nettop decodes it."""

    struct: str
    record: type[Any]
    decode: Callable[[bytes], Any]


SUBJECTS = (
    Subject("socket_record", abi.SocketRecord, abi.decode_socket),
    Subject("socket_record", abi.SocketRecord, lambda raw: abi.decode_sockets(raw)[0]),
    Subject("holder_record", abi.HolderRecord, lambda raw: abi.decode_holders(raw)[0]),
    Subject("dns_packet", abi.DnsPacket, lambda raw: abi.decode_dns(raw + bytes(abi.DNS_LOOKUP.size))),
    Subject("dns_lookup", abi.DnsLookup, lambda raw: abi.DnsLookup(*abi.DNS_LOOKUP.unpack(raw))),
    Subject("lookup_record", abi.LookupRecord, abi.decode_lookup),
    Subject("library_record", abi.LibraryRecord, lambda raw: abi.decode_libraries(raw)[0]),
    Subject("http_head", abi.HttpHead, abi.decode_http),
    Subject("process_event", abi.ProcessEvent, abi.decode_process),
    Subject("unlisted_key", abi.UnlistedKey, lambda raw: abi.UnlistedKey(*abi.UNLISTED_KEY.unpack(raw))),
    Subject("unlisted", abi.Unlisted, lambda raw: abi.Unlisted(*abi.UNLISTED.unpack(raw))),
    Subject("drop_key", abi.DropKey, lambda raw: abi.DropKey(*abi.DROP_KEY.unpack(raw))),
    Subject("drop_count", abi.DropCount, lambda raw: abi.DropCount(*abi.DROP_COUNT.unpack(raw))),
    Subject("stray_key", abi.StrayKey, lambda raw: abi.StrayKey(*abi.STRAY_KEY.unpack(raw))),
    Subject("udp_flow_key", abi.UdpFlowKey, lambda raw: abi.UdpFlowKey(*abi.UDP_FLOW_KEY.unpack(raw))),
    Subject("udp_flow", abi.UdpFlow, lambda raw: abi.UdpFlow(*abi.UDP_FLOW.unpack(raw))),
    Subject("packet_source", abi.PacketSource, lambda raw: abi.PacketSource(*abi.PACKET_SOURCE.unpack(raw))),
    Subject("source_packets", abi.SourcePackets, lambda raw: abi.SourcePackets(*abi.SOURCE_PACKETS.unpack(raw))),
    Subject("block_key", abi.BlockKey, lambda raw: abi.BlockKey(*abi.BLOCK_KEY.unpack(raw))),
    Subject("block", abi.Block, lambda raw: abi.Block(*abi.BLOCK.unpack(raw))),
    Subject("closing", abi.Closing, lambda raw: abi.Closing(*abi.CLOSING.unpack(raw))),
    Subject("spilled_head", abi.SpilledHead, lambda raw: abi.SpilledHead(*abi.SPILLED_HEAD.unpack(raw))),
)
ASKED = "asked_sockets"
STRUCTS = tuple(dict.fromkeys(subject.struct for subject in SUBJECTS))
FOLLOWS = {"payload", "arguments", "lookup"}  # what is behind the record
IN_THE_TYPES = {
    "COMM_BYTES",
    "ADDRESS_BYTES",
    "INTERFACE_BYTES",
    "PROCESS_EVENT_HEAD_BYTES",
}  # constants of abi.h that Python has no name for


class Field(NamedTuple):
    name: str
    offset: int
    size: int


@pytest.fixture(scope="module")
def leaves() -> Iterator[dict[str, Any]]:
    """The structs as BCC gives them to Python: ctypes made from what clang compiled."""
    directory = source_directory()
    os.environ["BCC_KERNEL_SOURCE"] = str(directory / "kernel")
    text = '#include "abi.h"\n' + "".join(f"BPF_ARRAY(one_{name}, struct {name}, 1);\n" for name in (*STRUCTS, ASKED))
    bpf = import_bcc().BPF(text=text.encode(), cflags=[f"-I{directory}", "-Wno-everything"])
    yield {name: bpf[f"one_{name}".encode()].Leaf for name in (*STRUCTS, ASKED)}
    bpf.cleanup()


def c_fields(structure: Any, prefix: str = "", base: int = 0) -> Iterator[Field]:
    """Those of C under the names that Python gives them."""
    for name, kind, *_ in structure._fields_:
        at = base + getattr(structure, name).offset
        if isinstance(kind, type) and issubclass(kind, ctypes.Structure):
            yield from c_fields(kind, "" if name == "entry" else f"{prefix}{name}_", at)
        elif not re.fullmatch(r"(__)?pad(_\d+)?", name):
            yield Field(prefix + name, at, ctypes.sizeof(kind))


def value(raw: bytes, field: Field) -> bytes | int:
    part = raw[field.offset : field.offset + field.size]
    return part if field.size > 8 else int.from_bytes(part, sys.byteorder)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_field_is_decoded_from_where_c_has_it(leaves: dict[str, Any], subject: Subject) -> None:
    size = ctypes.sizeof(leaves[subject.struct])
    raw = bytes((7 * at + 1) % 251 for at in range(size))  # no two neighbours alike
    record = subject.decode(raw)
    fields = [field for field in c_fields(leaves[subject.struct]) if field.name not in FOLLOWS]
    declared = {name: struct.calcsize(code) for name, code in abi.codes(subject.record).items() if name != "pad"}
    assert [(field.name, field.size) for field in fields] == list(declared.items())
    decoded = [field for field in fields if field.name in record.__struct_fields__]
    assert {field.name: getattr(record, field.name) for field in decoded} == {
        field.name: value(raw, field) for field in decoded
    }


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_record_has_the_size_that_c_gives_it(leaves: dict[str, Any], subject: Subject) -> None:
    behind = sum(field.size for field in c_fields(leaves[subject.struct]) if field.name in FOLLOWS)
    assert abi.layout(subject.record).size + behind == ctypes.sizeof(leaves[subject.struct])


def test_what_only_the_kernel_uses_is_declared_too(leaves: dict[str, Any]) -> None:
    names = {field.name for field in c_fields(leaves["socket_record"])} - set(abi.SocketRecord.__struct_fields__)
    assert names == {
        "reported_sum", "reported_state", "reported_owner", "kept_dropped", "held_scan",
        "kept_tx_packets", "kept_rx_packets", "request_waits",
    }  # fmt: skip


def test_what_only_tcp_has_comes_behind_what_all_sockets_have(leaves: dict[str, Any]) -> None:
    assert leaves["socket_record"].spoke_ns.offset == abi.SOCKET_RECORD_HEAD_BYTES
    raw = bytes((7 * at + 1) % 251 for at in range(abi.SOCKET_RECORD.size))
    record = abi.decode_socket(raw[: abi.SOCKET_RECORD_HEAD_BYTES])
    assert (record.peer_closed, record.spoke_ns, record.backoff) == (abi.decode_socket(raw).peer_closed, 0, 0)


def test_arguments_follow_the_head_of_a_process_event(leaves: dict[str, Any]) -> None:
    *_, arguments = c_fields(leaves["process_event"])
    assert arguments == Field("arguments", abi.PROCESS_EVENT.size, abi.EXEC_ARGUMENT_BYTES)
    assert abi.PROCESS_EVENT.size == defines()["PROCESS_EVENT_HEAD_BYTES"]


def test_the_room_of_asked_sockets(leaves: dict[str, Any]) -> None:
    room = leaves[ASKED]
    assert ctypes.sizeof(room) == asked_sockets.ROOM_BYTES
    assert (room.asked.offset, room.reported.offset) == (0, asked_sockets.COUNTS.size - 4)
    assert (room.sockets.offset, room.records.offset) == (asked_sockets.COUNTS.size, asked_sockets.RECORDS_AT)


def test_the_identity_of_a_socket_is_read_without_the_rest(leaves: dict[str, Any]) -> None:
    raw = bytes((7 * at + 1) % 251 for at in range(ctypes.sizeof(leaves["socket_record"])))
    record = abi.decode_socket(raw)
    assert abi.RawRecord(0, abi.decode_socket, raw).ended_socket == (record.socket, record.seen_ns)


def defines() -> dict[str, int]:
    text = (source_directory() / "abi.h").read_text()
    return {name: int(number) for name, number in re.findall(r"^#define (\w+) (\d+)\b", text, re.MULTILINE)}


def test_constants() -> None:
    of_c = {name: number for name, number in defines().items() if name not in IN_THE_TYPES}
    of_python = {name: number for name, number in vars(abi).items() if name.isupper() and type(number) is int}
    assert {name: number for name, number in of_python.items() if not name.startswith("_")} == of_c


def test_every_struct_is_compared() -> None:
    text = (source_directory() / "abi.h").read_text()
    assert set(re.findall(r"^struct (\w+) \{", text, re.MULTILINE)) == {*STRUCTS, ASKED, "process_id", "socket_entry"}
