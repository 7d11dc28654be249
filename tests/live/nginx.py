"""Debian's nginx with nothing but what is said, in a namespace of a test."""

from pathlib import Path

from tests.live.lab import Namespace, Program, listens, wait_until

_SETTINGS = """
user root;
worker_processes {workers};
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ }}
http {{
    log_format told '{told}';
    access_log {folder}/access.log told;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder}; uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    keepalive_requests 1000000;
    {http}
}}
"""


def nginx(
    where: Namespace, folder: Path, port: int, http: str, *, workers: int = 2,
    told: str = "$pid $request_method $uri $status",
) -> Program:  # fmt: skip
    """Once it listens. It logs this of each request into access.log of the folder."""
    settings = folder / "nginx.conf"
    settings.write_text(_SETTINGS.format(folder=folder, workers=workers, told=told, http=http))
    program = where.start("nginx", "-p", str(folder), "-c", str(settings))
    wait_until(lambda: listens(program, port), "nginx")
    return program
