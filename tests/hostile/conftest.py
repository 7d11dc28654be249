from tests.tui.conftest import same_everywhere

__all__ = ["same_everywhere"]
