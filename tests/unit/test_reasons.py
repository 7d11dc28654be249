"""Names of reasons: the running kernel's, whatever its numbers are."""

import pytest

from nettop.kernel import abi, reasons
from nettop.kernel.btf import Btf, BtfError
from nettop.kernel.hooks import HOOKS, KFREE_SKB

NAMES = {
    "skb_drop_reason": {
        0: "SKB_NOT_DROPPED_YET", 1: "SKB_CONSUMED", 2: "SKB_DROP_REASON_NOT_SPECIFIED", 7: "SKB_DROP_REASON_NO_SOCKET",
        9: "SKB_DROP_REASON_QUEUE_PURGE",
    },
    "sk_rst_reason": {0: "SK_RST_REASON_NOT_SPECIFIED", 3: "SK_RST_REASON_TCP_STATE"},
    "skb_drop_reason_subsys": {0: "SKB_DROP_REASON_SUBSYS_CORE", 2: "SKB_DROP_REASON_SUBSYS_OPENVSWITCH"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "number", "name"),
    [
        (abi.PACKET_DROPPED, 7, "NO_SOCKET"),
        (abi.PACKET_DROPPED, 99, "reason 99"),
        (abi.PACKET_DROPPED, 2 << 16 | 7, "OPENVSWITCH 7"),
        (abi.PACKET_DROPPED, 5 << 16 | 7, "reason 5 7"),
        (abi.RESET_SENT, 3, "TCP_STATE"),
        (abi.RESET_SENT, 0, "NOT_SPECIFIED"),
        (abi.RESET_SENT, abi.REASON_UNTOLD, "UNKNOWN"),
        (abi.RESET_RECEIVED, 0, ""),
        (abi.ICMP_SENT, 3 << 8 | 3, "port-unreachable"),
        (abi.ICMP_SENT, 12 << 8 | 1, "type 12 code 1"),
        (abi.ICMP_RECEIVED, 111, "ECONNREFUSED"),
        (abi.ICMP_RECEIVED, 4095, "4095"),
    ],
)
def test_names(kind: int, number: int, name: str) -> None:
    assert reasons.reason(NAMES, kind, number) == name


MACROS = ("IS_NO_DROP", "IS_OLD_SEQUENCE", "IS_OLD_OR_BEYOND", "IS_OF_COPIES")


def defined(names: reasons.Enumerators) -> list[str]:
    """What each of the MACROS is."""
    found = [line.removeprefix("-D").split("(reason)=", 1) for line in reasons.defines(names)]
    assert tuple(macro for macro, _ in found) == MACROS
    return [value for _, value in found]


def test_a_kernel_without_names() -> None:
    assert reasons.reason({}, abi.PACKET_DROPPED, 7) == "reason 7"
    assert defined({}) == ["(0)"] * len(MACROS)


def test_what_is_no_drop_is_known_by_its_name() -> None:
    no_drop = " || ".join(f"(reason) == {number}" for number in (0, 1, 2, 9))
    assert defined(NAMES) == [f"({no_drop})", "(0)", "(0)", "((reason) == 7)"]


@pytest.mark.parametrize("has_old_sequence", [False, True])
def test_an_older_kernel_calls_an_old_sequence_number_an_invalid_one(has_old_sequence: bool) -> None:
    of_tcp = {20: "SKB_DROP_REASON_TCP_INVALID_SEQUENCE", 21: "SKB_DROP_REASON_TCP_ZEROWINDOW"}
    if has_old_sequence:
        of_tcp[22] = "SKB_DROP_REASON_TCP_OLD_SEQUENCE"
    _, old_sequence, old_or_beyond, _ = defined({"skb_drop_reason": of_tcp})
    assert old_sequence == f"((reason) == {22 if has_old_sequence else 20})"
    assert old_or_beyond == "((reason) == 21)"


class _Kernel(Btf):
    def __init__(self, arguments: int) -> None:
        self._arguments = arguments

    def raw_tracepoint(self, name: str) -> int:
        assert name == "kfree_skb"
        return 1

    def raw_tracepoint_arguments(self, name: str) -> int:
        assert name == "kfree_skb"
        return self._arguments


def test_a_kernel_that_drops_without_reasons_does_not_have_the_hook() -> None:
    (hook,) = (hook for hook in HOOKS if hook.kind is KFREE_SKB)
    assert hook.since == "5.17"
    assert KFREE_SKB.btf_type(_Kernel(3), hook.target) == KFREE_SKB.btf_type(_Kernel(4), hook.target) == 1
    with pytest.raises(BtfError):
        KFREE_SKB.btf_type(_Kernel(2), hook.target)
