"""How the kernel side is sized."""

import pytest

from nettop.kernel.program import pages_per_cpu


@pytest.mark.parametrize(
    ("most", "cpus", "pages"),
    [(256, 1, 256), (256, 2, 256), (256, 8, 256), (256, 9, 128), (256, 16, 128), (256, 32, 64), (256, 512, 64),
     (64, 2, 64), (64, 512, 64)],
)  # fmt: skip
def test_many_cpus_have_smaller_buffers(most: int, cpus: int, pages: int) -> None:
    assert pages_per_cpu(most, cpus) == pages
