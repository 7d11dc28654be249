"""Connections to itself, both ends in one process without threads, that stay until told: `crowd.py NUMBER`."""

import resource
import socket
import sys


def main() -> None:
    number = int(sys.argv[1])
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        ends = []
        for _ in range(number):
            ends.append(socket.create_connection(listener.getsockname()))
            ends.append(listener.accept()[0])
        sys.stdout.write('"connected"\n')
        sys.stdout.flush()
        sys.stdin.readline()


if __name__ == "__main__":
    main()
