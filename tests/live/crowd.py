"""Connections to itself, both ends in one process without threads, that stay until told: `crowd.py NUMBER [ACTIVE]`.

So many of them send a byte every 0.1 s.
"""

import resource
import select
import socket
import sys

PERIOD_S = 0.1


def main() -> None:
    number, active = int(sys.argv[1]), int([*sys.argv, "0"][2])
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        ends = []
        for _ in range(number):
            client = socket.create_connection(listener.getsockname())
            ends.append((client, listener.accept()[0]))
        sys.stdout.write('"connected"\n')
        sys.stdout.flush()
        while not select.select([sys.stdin], [], [], PERIOD_S if active else None)[0]:
            for client, server in ends[:active]:
                client.send(b"x")
                server.recv(1)


if __name__ == "__main__":
    main()
