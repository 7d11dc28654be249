"""How the kernel side is sized."""

import pytest

from nettop.kernel.compiled import CompiledPrograms
from nettop.kernel.hooks import HOOKS
from nettop.kernel.program import bytes_per_cpu, locked_bytes, map_bytes
from nettop.kernel.syscalls import HASH, MapShape

KB, MB = 1 << 10, 1 << 20


@pytest.mark.parametrize(
    ("most_kb", "cpus", "size_kb"),
    [(1024, 1, 1024), (1024, 2, 1024), (1024, 8, 1024), (1024, 9, 512), (1024, 16, 512), (1024, 32, 256),
     (1024, 512, 256), (256, 2, 256), (256, 512, 256)],
)  # fmt: skip
@pytest.mark.parametrize("page_kb", [4, 16, 64])
def test_many_cpus_have_smaller_buffers(most_kb: int, cpus: int, size_kb: int, page_kb: int) -> None:
    assert bytes_per_cpu(most_kb * KB, cpus, page_kb * KB) == size_kb * KB


@pytest.mark.parametrize(
    ("cpus", "page_kb", "expected_kb"),
    [(1, 4, 3348), (8, 4, 8 * 3348), (16, 4, 16 * 2324), (32, 4, 32 * 1300), (2, 16, 2 * 3408), (2, 64, 2 * 3648)],
)
def test_larger_pages_take_hardly_more_memory(cpus: int, page_kb: int, expected_kb: int) -> None:
    assert locked_bytes(cpus, page_kb * KB) == expected_kb * KB


def test_a_hash_takes_more_than_what_it_holds() -> None:
    compiled = CompiledPrograms(maps={"sockets": MapShape(HASH, 8, 144, 1, 0)}, programs={}, attach_types={})
    assert map_bytes(compiled, 131_072) == 131_072 * (8 + 144 + 64)


def test_answers_are_seen_before_the_first_question() -> None:
    """A question that is asked while nettop attaches would be taken for one that nobody answers."""
    needs = [hook.need for hook in HOOKS if hook.kind.name == "cgroup_skb"]
    assert needs == ["dns_answers", "dns_queries"]
