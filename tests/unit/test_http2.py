"""Heads of HTTP/2: of curl, nghttp and gRPC as they were sent, and made with hpack's encoder."""

import itertools

import pytest
from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from nettop.protocols import http2
from nettop.protocols.header_block import HeaderBlocks
from nettop.protocols.http2 import MAX_BLOCK_BYTES, PREFACE, UNKNOWN, Http2Direction, Http2Head
from nettop.text import printable_text
from tests.captured import Segment, conversation, names

SETTINGS = bytes(3) + b"\4\0" + bytes(4)
REQUEST = [(":method", "GET"), (":scheme", "http"), (":authority", "shop.example"), (":path", "/users/7?token=secret")]


def frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + body


def headers(encoder: Encoder, stream: int, fields: list[tuple[str, str]], flags: int = 4) -> bytes:
    return frame(1, flags, stream, encoder.encode(fields))


def told(segments: list[Segment], from_client: bool) -> list[Http2Head]:
    direction = Http2Direction()
    heads = [
        head
        for segment in segments
        if segment.from_client == from_client
        for head in direction.segment(segment.sequence, segment.payload)
    ]
    assert (direction.gaps, direction.held_bytes) == (0, 0)
    return heads


def heads_of(*payloads: bytes) -> list[Http2Head]:
    starts = itertools.accumulate(map(len, payloads), initial=0)
    return told([Segment(True, start, payload) for start, payload in zip(starts, payloads, strict=False)], True)


def test_nghttp() -> None:
    asked = told([*conversation("http2-nghttp")], True)
    assert [(head.stream, head.kind, head.method, head.authority, head.path, head.partial) for head in asked] == [
        (13, "request", "GET", "127.0.0.1:8080", "/index.html", False),
        (15, "request", "GET", "127.0.0.1:8080", "/users/7", False),
        (17, "request", "GET", "127.0.0.1:8080", "/large", False),
    ]
    answered = told([*conversation("http2-nghttp")], False)
    assert [(head.stream, head.kind, head.status, head.content_length) for head in answered] == [
        (13, "response", 200, 6), (15, "response", 404, 147), (17, "response", 200, 40_000),
    ]  # fmt: skip


def test_grpc() -> None:
    asked = told([*conversation("http2-grpc")], True)
    assert [(head.method, head.path, head.grpc) for head in asked] == [
        ("POST", f"/shop.Orders/{name}", True) for name in ("Get", "Get", "Fails", "Missing", "Get", "Fails")
    ]
    ends = [head for head in told([*conversation("http2-grpc")], False) if head.grpc_status is not None]
    assert [(head.stream, head.kind, head.grpc_status, head.ends_stream) for head in ends] == [
        (1, "trailers", 0, True), (3, "trailers", 0, True), (5, "response", 5, True), (7, "response", 12, True),
        (9, "trailers", 0, True), (11, "response", 5, True),
    ]  # fmt: skip


def test_a_head_over_several_frames() -> None:
    (head,) = told([*conversation("http2-long-cookie")], True)
    assert (head.path, head.partial) == ("/long-cookie", False)


@pytest.mark.parametrize("name", names("http2"))
@pytest.mark.parametrize("from_client", [True, False])
def test_segments_may_be_cut_anywhere(name: str, from_client: bool) -> None:
    whole = [*conversation(name)]
    stream = b"".join(segment.payload for segment in whole if segment.from_client == from_client)
    head = len(PREFACE) if stream.startswith(PREFACE) else 0
    for size in (1, 7, 100, 1400):
        places = [0, *range(head + size, len(stream), size)] if head else [*range(0, len(stream), size)]
        pieces = [Segment(from_client, at, stream[at:end]) for at, end in itertools.pairwise([*places, len(stream)])]
        assert told(pieces, from_client) == told(whole, from_client)


@pytest.mark.parametrize("name", names("http2"))
def test_what_is_sent_again_is_told_once(name: str) -> None:
    for from_client in (True, False):
        segments = [segment for segment in conversation(name) if segment.from_client == from_client]
        again = [each for segment in segments for each in (segment, segment)]
        assert told(again, from_client) == told(segments, from_client)


@pytest.mark.parametrize("coded", [True, False])
def test_no_secret_is_kept(coded: bool) -> None:
    direction = Http2Direction()
    secret = [
        *(("cookie", "topsecret"), ("authorization", "topsecret"), (":path", "/a?topsecret")),
        *((":authority", "me:topsecret@shop.example"), ("host", "topsecret" * 30 + "@shop.example")),
    ]
    block = Encoder().encode([*REQUEST[:2], *secret], huffman=coded)
    (head,) = direction.segment(0, PREFACE + frame(1, 4, 1, block))
    assert (head.path, head.authority) == ("/a", "shop.example")
    assert b"secret" not in repr(direction._blocks._entries).encode()


def test_the_user_of_an_authority_is_left_out() -> None:
    fields = [(":method", "GET"), (":authority", "me:secret@shop.example:80"), (":path", "/")]
    assert heads_of(PREFACE + headers(Encoder(), 1, fields))[0].authority == "shop.example:80"


@pytest.mark.parametrize("coded", [True, False])
def test_a_path_is_cut(coded: bool) -> None:
    block = Encoder().encode([(":method", "GET"), (":path", "/" + "ab" * 2000)], huffman=coded)
    (head,) = heads_of(PREFACE + frame(1, 4, 1, block))
    assert head.path is not None
    assert head.path == ("/" + "ab" * 2000)[: len(head.path)]
    assert 200 < len(head.path) <= http2.MAX_PATH_BYTES


@pytest.mark.parametrize("path", ["/\x1b[2J", "/\u202e", "/[/b]"])
def test_text_prints(path: str) -> None:
    (head,) = heads_of(PREFACE + headers(Encoder(), 1, [(":method", "G\x1b"), (":path", path)]))
    for text in (head.path, head.method):
        assert text is not None
        assert printable_text(text) == text


def test_padding_and_priority() -> None:
    block = Encoder().encode(REQUEST)
    body = b"\7" + bytes(5) + block + bytes(7)
    (head,) = heads_of(PREFACE + frame(1, 0x2D, 1, body))
    assert (head.path, head.ends_stream) == ("/users/7", True)


def test_a_reset() -> None:
    assert heads_of(frame(3, 0, 5, b"\0\0\0\x08")) == [
        Http2Head(stream=5, kind="reset", error="CANCEL", ends_stream=True)
    ]


def test_what_a_server_promises_counts_for_the_table_alone() -> None:
    encoder = Encoder()
    promised = frame(5, 4, 1, bytes((0, 0, 0, 2)) + encoder.encode([("content-type", "application/grpc")]))
    answer = headers(encoder, 1, [(":status", "200"), ("content-type", "application/grpc")])
    again = headers(encoder, 3, [(":status", "200"), ("content-type", "application/grpc")])
    assert [(head.kind, head.grpc, head.partial) for head in heads_of(SETTINGS + promised + answer + again)] == [
        ("response", True, False), ("response", True, False),
    ]  # fmt: skip


def test_trace_and_length() -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    fields = [*REQUEST, ("traceparent", f"00-{trace}-b7ad6b7169203331-01"), ("content-length", "12")]
    (head,) = heads_of(PREFACE + headers(Encoder(), 1, fields))
    assert (head.trace_id, head.content_length) == (trace, 12)


def test_joined_in_the_middle_what_was_indexed_before_is_unknown() -> None:
    encoder = Encoder()
    headers(encoder, 1, REQUEST)
    late = headers(encoder, 3, REQUEST)
    new = headers(encoder, 5, [*REQUEST[:3], (":path", "/orders")])
    again = headers(encoder, 7, [*REQUEST[:3], (":path", "/orders")])
    assert [(head.method, head.authority, head.path, head.partial) for head in heads_of(late, new, again)] == [
        ("GET", UNKNOWN, UNKNOWN, True),
        ("GET", UNKNOWN, "/orders", True),
        ("GET", UNKNOWN, "/orders", True),
    ]


def test_after_a_gap_nothing_is_told_from_the_old_table() -> None:
    encoder, direction = Encoder(), Http2Direction()
    first = PREFACE + headers(encoder, 1, REQUEST)
    lost = headers(encoder, 3, [*REQUEST[:3], (":path", "/other")])
    last = headers(encoder, 5, REQUEST)
    direction.segment(0, first)
    (head,) = direction.segment(len(first) + len(lost), last)
    assert (head.method, head.path, head.partial, direction.gaps) == ("GET", UNKNOWN, True, 1)


def test_frames_without_heads_may_be_passed_over() -> None:
    encoder, direction = Encoder(), Http2Direction()
    first = PREFACE + headers(encoder, 1, REQUEST)
    direction.segment(0, first)
    (head,) = direction.segment(len(first) + 50_000, headers(encoder, 3, REQUEST), passed_over=True)
    assert (head.path, head.partial, direction.gaps) == ("/users/7", False, 0)


def test_nothing_is_passed_over_within_a_head() -> None:
    encoder, direction = Encoder(), Http2Direction()
    first = PREFACE + headers(encoder, 1, REQUEST)
    direction.segment(0, first[:-3])
    (head,) = direction.segment(len(first) + 9, headers(encoder, 3, REQUEST), passed_over=True)
    assert (head.path, direction.gaps) == (UNKNOWN, 1)


def test_bytes_inside_a_body_may_be_left_out() -> None:
    encoder, direction = Encoder(), Http2Direction()
    body = frame(0, 0, 1, bytes(30_000))
    first = PREFACE + headers(encoder, 1, REQUEST) + body[:100]
    second = len(first) + len(body) - 100
    direction.segment(0, first)
    (head,) = direction.segment(second - 40, body[-40:] + headers(encoder, 3, REQUEST))
    assert (head.path, head.partial, direction.gaps) == ("/users/7", False, 0)


def test_an_upgrade_begins_anew() -> None:
    direction = Http2Direction()
    upgrade = b"GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n"
    assert direction.segment(0, upgrade) == []
    (head,) = direction.segment(len(upgrade), PREFACE + headers(Encoder(), 1, REQUEST))
    assert (head.path, head.partial) == ("/users/7", False)


def test_sequence_numbers_begin_anew() -> None:
    encoder, direction = Encoder(), Http2Direction()
    first = PREFACE + headers(encoder, 1, REQUEST)
    start = 2**32 - 10
    direction.segment(start, first)
    assert direction.segment((start + len(first)) % 2**32, headers(encoder, 3, REQUEST))[0].path == "/users/7"


def test_a_head_that_never_ends_is_given_up() -> None:
    direction = Http2Direction()
    part = bytes(4000)
    at = 0
    for number in range(10):
        piece = frame(1 if not number else 9, 0, 1, part)
        assert direction.segment(at, piece) == []
        assert direction.held_bytes <= MAX_BLOCK_BYTES
        at += len(piece)
    assert direction.gaps >= 1


WORDS = st.text(st.sampled_from("abcdefgh/-.%?~€"), min_size=1, max_size=30)
FIELDS = st.lists(  # not grpc-status, which only trailers have: by it they are known where the rest of a head is not
    st.tuples(st.sampled_from(["cookie", "x-a", "content-type", "accept", "traceparent"]), WORDS),
    max_size=6,
)


@settings(deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS, FIELDS, st.booleans()), min_size=1, max_size=12), st.data())
def test_what_hpack_encodes(requests: list[tuple[str, str, list[tuple[str, str]], bool]], data: st.DataObject) -> None:
    """Whole, every path is right; from any place on, it is right or said to be unknown."""
    encoder = Encoder()
    encoder.header_table_size = data.draw(st.sampled_from([0, 64, 200, 4096, 65536]))
    blocks = [
        encoder.encode([(":method", method), (":path", path), *more], huffman=coded)
        for method, path, more, coded in requests
    ]
    frames = [frame(1, 4, 2 * number + 1, block) for number, block in enumerate(blocks)]
    direction = Http2Direction()
    whole = direction.segment(0, PREFACE + b"".join(frames))
    assert [head.path for head in whole] == [
        printable_text(path.partition("?")[0][:256]) or None for _, path, _, _ in requests
    ]
    late = data.draw(st.integers(0, len(frames) - 1))
    for part, full in zip(heads_of(b"".join(frames[late:])), whole[late:], strict=True):
        assert part.kind in (full.kind, None)
        if part.kind:
            assert part.path in (full.path, UNKNOWN)
            assert part.method in (full.method, UNKNOWN)


@given(st.binary(max_size=200))
def test_any_block(block: bytes) -> None:
    blocks = HeaderBlocks()
    try:
        fields = blocks.read(block)
    except ValueError:
        return
    assert len(fields) <= len(block)


@given(st.lists(st.tuples(st.integers(0, 500), st.binary(max_size=80), st.booleans()), max_size=8))
def test_any_segments(segments: list[tuple[int, bytes, bool]]) -> None:
    direction = Http2Direction()
    for sequence, payload, passed_over in segments:
        direction.segment(sequence, payload, passed_over)
        assert direction.held_bytes <= MAX_BLOCK_BYTES + 9
