"""The screen in a terminal of its own, as each kernel of the matrix must pass it.

Named so that pytest collects it only when asked for by name.
"""

from pathlib import Path

from nettop.view.panes import PANES, STACKED
from tests.kernels import PATIENCE_S
from tests.live import programs
from tests.live.lab import NETTOP, namespace
from tests.live.terminal import Terminal

PORT = 7004


def test_panes_then_traffic_then_quit(tmp_path: Path) -> None:
    with namespace(tmp_path) as inside:
        server = inside.play(programs.tcp_server, address="127.0.0.1", port=PORT, mode="hold")
        assert server.hear(PATIENCE_S) == "listening"
        old = inside.play(programs.tcp_stay, address="127.0.0.1", port=PORT, up=1009, down=503)
        assert old.hear(PATIENCE_S) == "exchanged"
        # without a scope, whose programs would be compiled for a minute or more; nothing else talks here
        with Terminal([*NETTOP], columns=160, lines=48) as terminal:

            def shows(*texts: str) -> None:
                terminal.until(lambda: all(text in terminal.text for text in texts), " ".join(texts), PATIENCE_S)

            stacked = (pane.kind.title for pane in PANES if pane.name in STACKED)
            shows(*stacked, "nothing lost", "python", str(old.pid), f"127.0.0.1:{PORT}")
            terminal.assert_taken()
            talker = inside.play(programs.tcp_client, address="127.0.0.1", port=PORT, sizes=[[8, 101]])
            shows("talker", str(talker.pid))
            terminal.press("q")
            assert terminal.ends(PATIENCE_S) == 0
            terminal.assert_as_found()
