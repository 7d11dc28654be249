"""What gunicorn serves: each path is answered with the status that begins it, and a body like heads."""

from collections.abc import Callable, Iterable
from typing import Any

LOOKALIKE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nGET /not-a-request HTTP/1.1\r\nHost: no.test\r\n\r\n"


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    environ["wsgi.input"].read()
    start_response(f"{environ['PATH_INFO'].split('/')[1]} As asked", [("Content-Length", str(50 * len(LOOKALIKE)))])
    return [LOOKALIKE] * 50
