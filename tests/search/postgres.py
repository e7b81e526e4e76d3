"""A PostgreSQL server on this machine, for as long as tests need it."""

import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest


def programs():
    """Folder of the server's programs, which Debian keeps out of the path."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    on_path = shutil.which("initdb")
    return found[-1] if found else Path(on_path).parent if on_path else None


def account():
    """User to run it as: it refuses root."""
    if os.getuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
    pytest.skip("no user to run PostgreSQL as: it refuses root")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextmanager
def server():
    """Start a server in a temporary folder; yields what makes the URL of a new, empty database."""
    folder = programs()
    if folder is None:
        pytest.skip("PostgreSQL is not installed; Debian's package is postgresql")
    who, port = account(), free_port()
    root = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        if who:
            os.chown(root, who["user"], who["group"])
        # Quick to start and to write: what a power cut would damage is thrown away anyway.
        quick = ["-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "max_connections=60"]
        make = [folder / "initdb", "-D", root / "data", "-U", "ada", "-A", "trust", "--no-sync"]
        subprocess.run(make, check=True, capture_output=True, cwd=root, **who)
        command = [folder / "postgres", "-D", root / "data", "-p", str(port), "-k", root, *quick]
        with (root / "log").open("w") as log:
            running = subprocess.Popen(
                [*command, "-c", "listen_addresses=127.0.0.1"],
                stdout=log, stderr=log, cwd=root, **who,
            )  # fmt: skip
        try:
            yield databases(port, running, root / "log")
        finally:
            running.terminate()
            running.wait(60)
    finally:
        shutil.rmtree(root)


def databases(port, running, log):
    def connect():
        return psycopg.connect(f"host=127.0.0.1 port={port} user=ada dbname=postgres")

    for _ in range(300):
        try:
            connect().close()
            break
        except psycopg.OperationalError:
            assert running.poll() is None, log.read_text()
            time.sleep(0.1)
    names = (f"study_{index}" for index in itertools.count())

    def new():
        name = next(names)
        with connect() as connection:
            connection.autocommit = True
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://ada@127.0.0.1:{port}/{name}"

    return new
