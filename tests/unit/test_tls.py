"""Hellos and alerts: of OpenSSL and curl as they were sent, and by hand where those do not send them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict

from nettop.protocols.tls import MAX_NAME_BYTES, MAX_PROTOCOLS, ClientHello, ServerHello, TlsAlert, TlsMessage, parse
from nettop.text import printable_text
from tests.captured import conversation, names


def messages(name: str) -> list[TlsMessage]:
    """Those that can be read of a conversation, in its order."""
    parsed = (parse(segment.payload) for segment in conversation(name))
    return [message for message in parsed if message is not None]


def hello(
    extensions: bytes, *, version: bytes = b"\3\3", session: bytes = b"", kind: int = 1, cipher: bytes = b"\xc0\x2f"
) -> bytes:
    """A hello of this kind in a record, with one cipher suite, which `cipher` is for a server."""
    suites = b"\0\2\x13\1\1\0" if kind == 1 else cipher + b"\0"
    session = bytes((len(session),)) + session
    body = version + bytes(32) + session + suites + len(extensions).to_bytes(2) + extensions
    message = bytes((kind,)) + len(body).to_bytes(3) + body
    return b"\x16\3\1" + len(message).to_bytes(2) + message


def extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2) + len(content).to_bytes(2) + content


def server_name(name: bytes) -> bytes:
    listed = b"\0" + len(name).to_bytes(2) + name
    return extension(0, len(listed).to_bytes(2) + listed)


def client_hello(payload: bytes) -> ClientHello:
    message = parse(payload)
    assert isinstance(message, ClientHello)
    return message


def server_hello(payload: bytes) -> ServerHello:
    message = parse(payload)
    assert isinstance(message, ServerHello)
    return message


def test_tls_1_3() -> None:
    everything = ("TLS 1.3", "TLS 1.2", "TLS 1.1", "TLS 1.0")
    assert messages("tls13") == [
        ClientHello("api.shop.example", ("h2", "http/1.1"), everything, resumption=False, ech=False, cut=False),
        ServerHello("TLS 1.3", "TLS_AES_256_GCM_SHA384", None, resumed=False, retry=False, cut=False),
    ]


def test_tls_1_3_resumed() -> None:
    client, server = messages("tls13-resumed")
    assert isinstance(client, ClientHello)
    assert isinstance(server, ServerHello)
    assert (client.server_name, client.resumption, server.version, server.resumed) == (
        "api.shop.example", True, "TLS 1.3", True,
    )  # fmt: skip


def test_tls_1_2_tells_the_protocol() -> None:
    assert messages("tls12") == [
        ClientHello("old.shop.example", ("http/1.1",), ("TLS 1.2",), resumption=False, ech=False, cut=False),
        ServerHello(
            "TLS 1.2", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "http/1.1", resumed=False, retry=False, cut=False
        ),
    ]


def test_tls_1_2_resumed() -> None:
    client, server = messages("tls12-resumed")
    assert isinstance(client, ClientHello)
    assert isinstance(server, ServerHello)
    assert (client.resumption, server.version, server.resumed) == (True, "TLS 1.2", True)


def test_tls_1_2_whether_resumed_is_not_told_by_the_hello_alone() -> None:
    server = conversation("tls12")[1].payload
    alone = server[: 5 + int.from_bytes(server[3:5])]
    assert server_hello(alone).resumed is None


def test_a_hello_retry_request() -> None:
    first, retry, second, server = messages("tls13-retry")
    assert isinstance(retry, ServerHello)
    assert isinstance(server, ServerHello)
    assert (retry.retry, retry.resumed, server.retry) == (True, None, False)
    assert isinstance(first, ClientHello)
    assert isinstance(second, ClientHello)  # behind a ChangeCipherSpec
    assert first.server_name == second.server_name == "retry.shop.example"


def test_a_server_that_refuses() -> None:
    assert messages("tls13-refused")[1:] == [TlsAlert("protocol_version", ends=True)]


def test_a_client_that_does_not_trust() -> None:
    assert messages("tls12-unknown-ca")[2:] == [TlsAlert("unknown_ca", ends=True)]


@pytest.mark.parametrize(
    ("payload", "alert"),
    [
        (b"\x15\3\3\0\2\2\x28", TlsAlert("handshake_failure", ends=True)),
        (b"\x15\3\3\0\2\1\x70", TlsAlert("unrecognized_name", ends=False)),
        (b"\x15\3\3\0\2\1\0", TlsAlert("close_notify", ends=True)),
        (b"\x15\3\3\0\2\2\xc8", TlsAlert("alert 200", ends=True)),
        (b"\x15\3\3\0\2\3\x28", None),
        (b"\x15\3\3\0\2\2", None),
        (b"\x15\3\3\0\x1a" + bytes(26), None),  # encrypted
    ],
)
def test_alerts(payload: bytes, alert: TlsAlert | None) -> None:
    assert parse(payload) == alert


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x16",
        b"GET / HTTP/1.1\r\n",
        b"\x17\3\3\0\x10" + bytes(16),
        b"\x16\3\1\0\4\x0b\0\0\0",
        b"\x16\2\0\0\x64\1" * 9,
    ],
)
def test_what_is_no_hello(payload: bytes) -> None:
    assert parse(payload) is None


def test_grease_is_left_out() -> None:
    offered = extension(43, b"\6\x3a\x3a\3\4\3\3") + extension(16, b"\0\6\2\x4a\x4a\2h2")
    read = client_hello(hello(offered))
    assert (read.versions, read.alpn) == (("TLS 1.3", "TLS 1.2"), ("h2",))


@pytest.mark.parametrize(("content", "ech"), [(b"\0" + bytes(40), True), (b"\1", False)])
def test_encrypted_client_hello(content: bytes, ech: bool) -> None:
    read = client_hello(hello(server_name(b"front.example") + extension(0xFE0D, content)))
    assert (read.server_name, read.ech) == ("front.example", ech)


def test_a_session_s_id_offers_resumption_where_there_is_no_tls_1_3() -> None:
    assert client_hello(hello(b"", session=b"x" * 32)).resumption is True
    assert client_hello(hello(extension(43, b"\2\3\4"), session=b"x" * 32)).resumption is False


def test_a_hello_without_extensions() -> None:
    payload = hello(b"", version=b"\3\1")[:-2]
    payload = payload[:3] + (len(payload) - 5).to_bytes(2) + payload[5:6] + (len(payload) - 9).to_bytes(3) + payload[9:]
    assert client_hello(payload) == ClientHello(None, (), ("TLS 1.0",), resumption=False, ech=False, cut=False)


def test_a_server_that_chooses_what_has_no_name() -> None:
    payload = hello(b"", kind=2).replace(b"\xc0\x2f\0", b"\xfa\xfa\0")
    assert server_hello(payload).cipher == "0xfafa"


def test_a_hello_in_many_records() -> None:
    payload = conversation("tls13")[0].payload
    message = payload[5:]
    pieces = [message[at : at + 40] for at in range(0, len(message), 40)]
    assert parse(b"".join(b"\x16\3\1" + len(piece).to_bytes(2) + piece for piece in pieces)) == parse(payload)


@pytest.mark.parametrize("name", [b"a\x1b[2Jb.example", b"\xff\xfe", "päth.example".encode(), b"[/b]"])
def test_names_print(name: bytes) -> None:
    read = client_hello(hello(server_name(name))).server_name
    assert read is not None
    assert printable_text(read) == read


def test_bounds() -> None:
    assert client_hello(hello(server_name(b"a" * (MAX_NAME_BYTES + 1)))).server_name is None
    many = b"\2h2" * 100
    assert len(client_hello(hello(extension(16, len(many).to_bytes(2) + many))).alpn) == MAX_PROTOCOLS


@pytest.mark.parametrize("name", names("tls"))
def test_a_cut_hello_says_nothing_that_the_whole_one_does_not(name: str) -> None:
    for segment in conversation(name):
        whole = parse(segment.payload)
        if not isinstance(whole, ClientHello | ServerHello):
            continue
        for length in range(len(segment.payload)):
            part = parse(segment.payload[:length])
            if part is None:
                continue
            for field, value in asdict(part).items():
                if field != "cut":
                    assert value in (None, (), asdict(whole)[field]), (length, field)


def test_the_cipher_suite_tells_the_version_that_is_behind_the_cut() -> None:
    """Where a server sends a key share that is safe from quantum computers first (BoringSSL)."""
    share, version = extension(51, bytes(1_124)), extension(43, b"\3\4")
    whole = hello(share + version, kind=2, cipher=b"\x13\1")
    for payload in (whole, whole[:256]):
        assert (server_hello(payload).version, server_hello(payload).cipher) == ("TLS 1.3", "TLS_AES_128_GCM_SHA256")
    older = hello(share, kind=2)
    assert server_hello(older).version == "TLS 1.2"
    assert server_hello(older[:256]).version is None


@given(st.binary(max_size=400))
def test_any_extensions(extensions: bytes) -> None:
    for kind in (1, 2):
        assert parse(hello(extensions, kind=kind)) is not None


@given(st.binary(max_size=600), st.sampled_from([b"", b"\x16\3\1", b"\x15\3\3", b"\x14\3\3\0\1\1\x16\3\3"]))
def test_any_bytes(payload: bytes, begins: bytes) -> None:
    parse(begins + payload)
