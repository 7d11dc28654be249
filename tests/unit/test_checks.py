"""What `nettop doctor` says that a kernel does not tell."""

import pytest

from nettop.cli.checks import closing, commands, opt_in, what_is_told
from nettop.errors import CannotRunError
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


class Kernel:
    """Loads all but what is refused, and has libraries of both kinds."""

    libraries_covered, tls_libraries_covered = 2, 1
    attached: tuple[str, ...] = ()
    closed = False

    def __init__(self, refused: tuple[str, ...]) -> None:
        self._refused = refused

    def load_opt_in(self, need: str) -> None:
        if need in self._refused:
            raise CannotRunError("The kernel refuses it.", "")

    def attach_lookups(self, _with_returns: bool) -> None:
        self.attached += ("lookups",)

    def attach_plaintext(self) -> None:
        self.attached += ("plaintext",)

    def may_attach_later(self, _give_up_privileges: object) -> bool:
        return self.attached == ("lookups",)

    def close(self) -> None:
        self.closed = True


TO_LIBRARIES = "can be attached, to 2 libraries and to what replaces them"
REFUSED = "The kernel refuses it. Everything else works without it"


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        ((), {"--lookups": TO_LIBRARIES, "--decrypt": "can be attached, to 1 library"}),
        (("lookups",), {"--lookups": REFUSED, "--decrypt": "can be attached, to 1 library"}),
        (("plaintext",), {"--lookups": TO_LIBRARIES, "--decrypt": REFUSED}),
    ],
)
def test_what_has_to_be_asked_for(
    monkeypatch: pytest.MonkeyPatch, refused: tuple[str, ...], said: dict[str, str]
) -> None:
    """Each for itself, although both are compiled at once."""
    kernel = Kernel(refused)
    compiled: list[tuple[str, ...]] = []
    monkeypatch.setattr("nettop.kernel.uretprobes.are_harmless", lambda: True)
    monkeypatch.setattr("nettop.cli.checks.compiled_programs", compiled.append)
    monkeypatch.setattr("nettop.kernel.program.KernelProgram", lambda _scope, _compiled: kernel)
    found = {check.need.rpartition("(")[2].rstrip(")"): check for check in opt_in()}
    assert {option: check.detail for option, check in found.items()} == said
    statuses = {option: "absent" if text == REFUSED else "ok" for option, text in said.items()}
    assert {option: check.status for option, check in found.items()} == statuses
    assert len(compiled) == 1
    assert kernel.attached == tuple(each for each in ("lookups", "plaintext") if each not in refused)
    assert kernel.closed


def test_nothing_of_it_where_it_cannot_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_defines: tuple[str, ...]) -> None:
        raise CannotRunError("It cannot be compiled.", "")

    monkeypatch.setattr("nettop.kernel.uretprobes.are_harmless", lambda: True)
    monkeypatch.setattr("nettop.cli.checks.compiled_programs", refuse)
    found = [(check.status, check.detail) for check in opt_in()]
    assert found == [("absent", "It cannot be compiled. Everything else works without it")] * 2
