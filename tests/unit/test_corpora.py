"""How `make fuzz` finds the messages in the sources that others publish."""

import io
import tarfile
from pathlib import Path

import pytest

from tests.hostile import corpora
from tests.hostile.corpora import Corpus
from tests.hostile.dns_cases import QUESTION, TCP, UDP

OTHER = QUESTION[:2] + b"\x81" + QUESTION[3:]
HEX, OTHER_HEX = QUESTION.hex(), OTHER.hex()
LINES = f"; two\n25001\n{HEX}\n{OTHER_HEX}\n\n25002\n{HEX}\n"
PARTS = f"; one\n;-- next --\n; its header\n{HEX[:9]}\n {HEX[9:]} ; the rest\n\n;-- next --\n{OTHER_HEX.upper()}\n"


@pytest.mark.parametrize("compression", ["gz", "bz2", "xz"])
def test_messages_are_found_among_other_files(tmp_path: Path, compression: str) -> None:
    sources = tmp_path / f"server_1.0.orig.tar.{compression}"
    with tarfile.open(sources, f"w:{compression}") as archive:  # type: ignore[call-overload]
        for name, content in (
            ("README", OTHER),
            ("fuzz/dns/1", QUESTION),
            ("fuzz/dns/again", QUESTION),
            ("fuzz/2", OTHER),
        ):
            file = tarfile.TarInfo(f"server-1.0/{name}")
            file.size = len(content)
            archive.addfile(file, io.BytesIO(content))
        folder = tarfile.TarInfo("server-1.0/fuzz/dns/folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
    assert corpora.messages(Corpus("server", "*/fuzz/dns/*", corpora.one_message), sources) == (QUESTION,)
    assert corpora.messages(Corpus("server", "*/corpus/*", corpora.one_message), sources) == ()


def test_hexadecimal_messages_stand_in_lines_or_between_separators() -> None:
    assert corpora.hexadecimal(LINES.encode()) == [QUESTION, OTHER, QUESTION]
    assert corpora.hexadecimal(PARTS.encode()) == [QUESTION, OTHER]


def test_a_message_is_played_both_ways_over_udp_and_in_segments_of_tcp() -> None:
    message = bytes(3000)
    played = [case[-1] for case in corpora.cases(message)]
    assert [(packet.query, packet.protocol) for packet in played] == [
        (True, UDP),
        (True, TCP),
        (False, UDP),
        (False, TCP),
    ]
    _, whole, _, _ = corpora.cases(message)
    assert b"".join(packet.payload for packet in whole) == len(message).to_bytes(2) + message
    assert max(len(packet.payload) for packet in whole) == 1400
