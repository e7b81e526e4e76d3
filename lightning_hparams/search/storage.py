"""Databases of studies: SQLite on a local disk, or PostgreSQL for many machines."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import event, orm
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from ..checks import require, writable_folder

__all__ = ["Database", "has_no_study", "network_filesystem", "open_storage"]

_BUSY = 120  # seconds to wait for another process's transaction, which takes milliseconds
_SMALLEST = 512  # bytes of a SQLite database, which an empty file would become
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "lustre", "gpfs", "beegfs", "ceph"} | {
    "glusterfs",
    "fuse.glusterfs",
    "fuse.sshfs",
    "ocfs2",
    "gfs2",
}


class Database(RDBStorage):
    """Optuna's storage in a database, with several writes in one transaction.

    Args:
        url: Address of the database.
        reading: Whether this process only reads, and does not make writers wait.
        heartbeat: Seconds between two signs of life of a running trial.
        grace: Seconds without one after which a trial counts as dead.
    """

    def __init__(self, url: URL, *, reading: bool, heartbeat: int, grace: int) -> None:
        self.reading = reading
        self.threads = threading.local()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # of the heartbeat
            super().__init__(
                url.render_as_string(hide_password=False),
                engine_kwargs=(
                    {"connect_args": {"timeout": _BUSY}}
                    if _is_sqlite(url)
                    else {"pool_pre_ping": True}  # connections that a proxy has closed
                ),
                heartbeat_interval=heartbeat,
                grace_period=grace,
            )
        weakref.finalize(self, self.engine.dispose)  # or the driver warns of open connections
        if _is_sqlite(url):
            self.engine.dispose()  # connections from before the listeners
            event.listen(self.engine, "connect", _prepare)
            event.listen(self.engine, "begin", _begin if reading else _begin_writing)

    @property
    def scoped_session(self) -> Any:
        """The sessions that Optuna writes through, within a transaction those of it."""
        return getattr(self.threads, "sessions", None) or self.sessions

    @scoped_session.setter
    def scoped_session(self, sessions: Any) -> None:
        self.sessions = sessions

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all writes of this thread at once, or none if the process dies.

        One process at a time is within a transaction, so that what it has read still holds when
        it writes.
        """
        if getattr(self.threads, "sessions", None) is not None:
            yield  # part of the outer one
            return
        with self.engine.connect() as connection, connection.begin():
            if self.engine.dialect.name == "postgresql":
                lock = sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)")
                connection.execute(lock, {"key": _lock_key(self.engine.url)})
            sessions = orm.scoped_session(
                orm.sessionmaker(bind=connection, join_transaction_mode="create_savepoint")
            )
            self.threads.sessions = sessions
            try:
                yield
            finally:
                self.threads.sessions = None
                sessions.remove()


def open_storage(
    url: str | Path, *, reading: bool = False, heartbeat: int = 60, grace: int = 180
) -> Database:
    """Open a database, and create its tables if necessary.

    SQLite is used in write-ahead mode, in which readers and writers do not wait for each other.

    Args:
        url: Address such as ``sqlite:///study.db`` or ``postgresql+psycopg://user@host/name``, or
            the path of a SQLite file.
        reading: Whether this process only reads.
        heartbeat: Seconds between two signs of life of a running trial.
        grace: Seconds without one after which a trial counts as dead.

    Raises:
        ValueError: If the address is none of these, there is nothing to read, or SQLite's file is
            on a network drive, where its locks do not work.
        PermissionError: If the file cannot be written to.
        ConnectionError: If the server cannot be reached.
        ModuleNotFoundError: If the driver is not installed.
    """
    address = _address(url)
    options = {"reading": reading, "heartbeat": heartbeat, "grace": grace}
    shown = address.render_as_string(hide_password=True)
    if _is_sqlite(address):
        path = _checked_file(address)
        if reading and has_no_study(url):
            raise ValueError(f"{shown} has no study yet")
        with _locked(path.with_name(f"{path.name}.lock")):
            _write_ahead(path)
            try:
                return Database(address, **options)  # type: ignore[arg-type]
            except (StorageInternalError, SQLAlchemyError, RuntimeError) as error:
                raise ValueError(
                    f"`storage` {str(path)!r} cannot be read ({_reason(error)}); if it is damaged, "
                    "restore it from a copy"
                ) from error
    require("psycopg", extra="postgres")
    try:
        with _locked_server(address):
            return Database(address, **options)  # type: ignore[arg-type]
    except SQLAlchemyError as error:
        raise ConnectionError(
            f"storage {shown} cannot be used ({_reason(error)}); check host, name, user and "
            "password"
        ) from error


def _reason(error: Exception) -> str:
    """What the driver said, in one line."""
    first = error.__cause__ if isinstance(error, StorageInternalError) else error
    return str(getattr(first, "orig", first)).strip().splitlines()[0]


def has_no_study(url: str | Path) -> bool:
    """Whether the file of a SQLite database is missing or empty; False for a server."""
    address = _address(url)
    if not _is_sqlite(address):
        return False
    path = Path(str(address.database))
    return not (path.is_file() and path.stat().st_size >= _SMALLEST)


def network_filesystem(path: Path, mounts: str) -> str | None:
    r"""Return the type of the network filesystem that a path is on, or None if it is on none.

    Args:
        path: An absolute path.
        mounts: Content of ``/proc/mounts``.

    >>> mounts = "disk / ext4 rw 0 0\nserver:/home /home nfs4 rw 0 0\n"
    >>> network_filesystem(Path("/home/ada/study.db"), mounts)
    'nfs4'
    >>> network_filesystem(Path("/tmp/study.db"), mounts)
    """
    kinds = {}
    for line in mounts.splitlines():
        _, folder, kind, *_ = [*line.split(), "", "", ""]
        # Spaces and the like are written as octal numbers.
        kinds[folder.encode().decode("unicode_escape")] = kind
    for parent in [path, *path.parents]:
        if str(parent) in kinds:
            kind = kinds[str(parent)]
            return kind if kind in _NETWORK else None
    return None


def _address(url: str | Path) -> URL:
    text = str(url)
    if "://" not in text:
        return URL.create("sqlite", database=text)
    try:
        address = make_url(text)
    except ArgumentError:
        raise ValueError(f"`storage` must be a URL, got {text!r}") from None
    if address.drivername in ("postgres", "postgresql"):
        address = address.set(drivername="postgresql+psycopg")
    if address.get_backend_name() not in ("sqlite", "postgresql"):
        raise ValueError(
            f"`storage` must be SQLite or PostgreSQL, got {address.get_backend_name()!r}; "
            "'postgresql+psycopg://user@host/name' is an address of the latter"
        )
    if _is_sqlite(address) and address.database in (None, "", ":memory:"):
        raise ValueError(
            f"`storage` must be a file, got {text!r}, which ends with the process; "
            "'sqlite:///study.db' is one"
        )
    return address


def _is_sqlite(address: URL) -> bool:
    return address.get_backend_name() == "sqlite"


def _checked_file(address: URL) -> Path:
    path = Path(str(address.database)).absolute()
    kind = network_filesystem(path.parent.resolve(), _mounts())
    if kind is not None:
        raise ValueError(
            f"`storage` {str(path)!r} is on a network drive ({kind}), where SQLite's locks do not "
            "protect it; use a local disk, or PostgreSQL: postgresql+psycopg://user@host/name"
        )
    writable_folder("the folder of the storage", path.parent)
    if path.is_dir():
        raise PermissionError(f"`storage` {str(path)!r} is a folder; add the name of a file")
    if path.exists() and not os.access(path, os.W_OK):
        raise PermissionError(
            f"`storage` {str(path)!r} cannot be written to; change its permissions"
        )
    return path


def _mounts() -> str:
    try:
        return Path("/proc/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""  # not Linux


def _write_ahead(path: Path) -> None:
    """Set the mode, which SQLite keeps in the file."""
    connection = sqlite3.connect(path, timeout=_BUSY)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    except sqlite3.DatabaseError as error:
        raise ValueError(
            f"`storage` {str(path)!r} is not a SQLite database ({error}); restore it from "
            "a copy, or choose another file"
        ) from None
    finally:
        connection.close()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time create tables; the lock ends with the process on any system."""
    connection = sqlite3.connect(path, timeout=_BUSY, isolation_level=None)
    try:
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.DatabaseError as error:
            raise ValueError(f"{str(path)!r} cannot be locked ({error}); remove it") from error
        yield
    finally:
        connection.close()


@contextmanager
def _locked_server(address: URL) -> Iterator[None]:
    engine = sqlalchemy.create_engine(address, poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection, connection.begin():
        lock = sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)")
        connection.execute(lock, {"key": _lock_key(address) + 1})
        yield


def _lock_key(address: URL) -> int:
    text = f"lightning-hparams {address.database}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def _prepare(connection: Any, record: object) -> None:
    connection.isolation_level = None  # transactions begin as below, not as the driver guesses
    connection.execute("PRAGMA synchronous=NORMAL")  # with WAL, a power cut damages nothing
    connection.execute("PRAGMA foreign_keys=ON")


def _begin(connection: sqlalchemy.Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_writing(connection: sqlalchemy.Connection) -> None:
    # A transaction that reads first and writes later fails at once, with "database is locked", if
    # another process has written in between; one that begins as a writer waits for its turn.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
