from pathlib import Path

from nettop.sources.netns_names import READ_AGAIN_S, NetnsNames


def test_names_come_go_and_are_read_no_more_often_than_that(tmp_path: Path) -> None:
    now_s = [0.0]
    names = NetnsNames(tmp_path / "netns", lambda: now_s[0])
    assert names(1) is None
    (tmp_path / "netns").mkdir()
    blue = tmp_path / "netns" / "blue\x1b"
    blue.touch()
    inode = blue.stat().st_ino
    assert names(inode) is None
    now_s[0] += READ_AGAIN_S
    assert names(inode) == "blue\\x1b"
    blue.rename(tmp_path / "netns" / "green")
    now_s[0] += READ_AGAIN_S
    assert names(inode) == "green"
    (tmp_path / "netns" / "green").unlink()
    now_s[0] += READ_AGAIN_S
    assert names(inode) is None
