from tests.live.conftest import directory
from tests.tui.conftest import same_everywhere

__all__ = ["directory", "same_everywhere"]
