from tests.live.conftest import directory, quiet

__all__ = ["directory", "quiet"]  # the live tests' fixtures
