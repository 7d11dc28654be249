"""What `nettop doctor` says that a kernel does not tell."""

import pytest

from nettop.cli.checks import closing, commands, what_is_told
from nettop.kernel.btf import BtfError
from nettop.model.cutting import Powers


class Older:
    """The types of Linux 5.10: fewer arguments, and nothing of what is asked for by name."""

    def function(self, name: str) -> int:
        raise BtfError(name, "")

    def offset(self, structure: str, path: str) -> int:
        raise BtfError(f"{structure}.{path}", "")

    def raw_tracepoint_arguments(self, name: str) -> int:
        return {"kfree_skb": 2, "tcp_send_reset": 2}[name]


class Newer:
    """Everything is there."""

    def function(self, name: str) -> int:
        return len(name)

    def offset(self, structure: str, path: str) -> int:
        return len(structure) + len(path)

    def raw_tracepoint_arguments(self, name: str) -> int:
        return {"kfree_skb": 4, "tcp_send_reset": 3}[name]


@pytest.mark.parametrize(("types", "status"), [(Older(), "absent"), (Newer(), "ok")])
def test_what_hooks_alone_do_not_say(types: Older | Newer, status: str) -> None:
    checks = {check.mechanism: check for check in what_is_told(types)}
    assert {check.status for check in checks.values()} == {status}
    assert list(checks) == [
        "bpf_get_retval",
        "raw_tracepoint tcp_send_reset, reason",
        "raw_tracepoint kfree_skb, rx_sk",
        "struct nf_conn",
    ]
    if status == "absent":
        assert "6.1 or later" in checks["bpf_get_retval"].detail
        assert "CONFIG_NF_CONNTRACK" in checks["struct nf_conn"].detail


def test_whether_connections_can_be_closed() -> None:
    assert closing({"bpf_sock_destroy": 7}).status == "ok"
    lacking = closing({})
    assert (lacking.status, "6.5 or later" in lacking.detail) == ("absent", True)


@pytest.mark.parametrize(
    ("powers", "status", "detail"),
    [
        (Powers(), "absent", "found: none"),
        (Powers(tools=frozenset(("kill", "ss")), destroys=True), "ok", "found: ss, kill"),
        (
            Powers(tools=frozenset(("ss", "systemctl")), destroys=False),
            "ok",
            "found: ss, systemctl; the kernel does not let ss -K close; systemd does not run here",
        ),
        (Powers(tools=frozenset(("ss",))), "ok", "found: ss; whether ss -K may close is not known"),
        (Powers(tools=frozenset(("systemctl",)), has_systemd=True), "ok", "found: systemctl"),
    ],
)
def test_which_commands_there_are(powers: Powers, status: str, detail: str) -> None:
    check = commands(powers)
    assert (check.status, check.detail) == (status, detail)
