"""DNS that others test their own parsers with: out of Debian's source packages, which the user's cache keeps."""

import fnmatch
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.hostile import dns_cases
from tests.hostile.dns_cases import Case
from tests.kernels.archive import Archive, cache_folder

SUITE = "trixie"
_SEGMENT_BYTES = 1400


class Corpus(NamedTuple):
    """Where a source package has its messages, and how its files are read."""

    package: str
    files: str
    read: Callable[[bytes], list[bytes]]


def one_message(content: bytes) -> list[bytes]:
    return [content]


def hexadecimal(content: bytes) -> list[bytes]:
    """A message in each line of ten digits or more; where a file has lines ';--', one between each two of them."""
    lines = content.decode("ascii").splitlines()
    texts = ["".join(line.partition(";")[0].split()) for line in lines]
    separators = [number for number, line in enumerate(lines) if line.startswith(";--")]
    if separators:
        texts = ["".join(texts[start:end]) for start, end in zip([0, *separators], [*separators, None], strict=True)]
    return [bytes.fromhex(text) for text in texts if len(text) >= 10]


CORPORA = (
    Corpus("bind9", "*/fuzz/dns_message_parse.in/*", one_message),
    Corpus("c-ares", "*/test/fuzzinput/*", one_message),
    Corpus("unbound", "*/testdata/test_packets.*", hexadecimal),
)


def provide(corpus: Corpus) -> Path:
    """The archive of the sources, downloaded unless the cache has it. Raises ArchiveError where it cannot be had."""
    cache = cache_folder("corpora")
    folder = cache / SUITE
    folder.mkdir(exist_ok=True)
    for kept in folder.glob(f"{corpus.package}_*"):
        return kept
    with tempfile.TemporaryDirectory(dir=cache) as work:
        Archive(SUITE, cache / "archive", "deb-src").fetch_source(corpus.package, Path(work))
        (downloaded,) = Path(work).glob(f"{corpus.package}_*")
        return downloaded.rename(folder / downloaded.name)


def messages(corpus: Corpus, sources: Path) -> tuple[bytes, ...]:
    """Every different one, in the order of the archive."""
    with tarfile.open(sources) as archive:
        return tuple(dict.fromkeys(message for file in _files(archive, corpus) for message in corpus.read(file)))


def _files(archive: tarfile.TarFile, corpus: Corpus) -> Iterator[bytes]:
    for member in archive:
        if fnmatch.fnmatchcase(member.name, corpus.files) and (file := archive.extractfile(member)):
            yield file.read()


def cases(message: bytes) -> Iterator[Case]:
    """As a question and as an answer, over UDP and over TCP."""
    stream = dns_cases.framed(message)
    for query in (True, False):
        yield dns_cases.udp(message, query)
        yield dns_cases.tcp(stream, list(range(_SEGMENT_BYTES, len(stream), _SEGMENT_BYTES)), query)
