"""A Slurm cluster of this machine alone, for as long as a test needs it."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.search.postgres import free_port

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket={root}/munge.socket
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={control}
SlurmdPort={node}
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
MailProg=/bin/true
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=10
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
PATHS = "/usr/sbin:/usr/local/sbin:" + os.environ.get("PATH", "")


@contextmanager
def cluster():
    """Start the cluster; yields a function that runs one of Slurm's commands."""
    programs = {name: shutil.which(name, path=PATHS) for name in ("munged", "slurmctld", "slurmd")}
    if missing := [name for name, path in programs.items() if path is None]:
        pytest.skip(f"{missing} not installed; Debian's package is slurm-wlm")
    host = socket.gethostname()
    root = Path(tempfile.mkdtemp(prefix="slurm-"))
    root.chmod(0o755)  # or munge does not trust it
    (root / "key").write_bytes(os.urandom(128))
    (root / "key").chmod(0o600)
    for name in ("state", "spool"):
        (root / name).mkdir()
    text = CONFIGURATION.format(
        host=host, root=root, user=_user(), control=free_port(), node=free_port()
    )
    (root / "slurm.conf").write_text(text)
    environment = {**os.environ, "SLURM_CONF": str(root / "slurm.conf")}
    munge = {"key": "key", "socket": "munge.socket", "pid": "munge.pid", "log": "munge.log"}
    options = [f"--{name}-file={root / path}" for name, path in munge.items() if name != "socket"]
    options += [f"--socket={root / munge['socket']}", f"--seed-file={root / 'seed'}"]

    def command(*words, **more):
        return subprocess.run(
            words, env={**environment, **more}, capture_output=True, text=True, check=True
        ).stdout

    with ExitStack() as stack:
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        log = stack.enter_context((root / "log").open("w"))
        commands = [
            [programs["munged"], "-F", "--force", *options],
            [programs["slurmctld"], "-D"],
            [programs["slurmd"], "-D", "-N", host],
        ]
        for each in commands:
            running = subprocess.Popen(each, env=environment, stdout=log, stderr=log)
            stack.callback(_end, running)
            time.sleep(0.5)
        for _ in range(60):
            found = subprocess.run(
                ["sinfo", "-h", "-o", "%T"], env=environment, capture_output=True, text=True,
                check=False,
            )  # fmt: skip
            if found.stdout.strip() == "idle":
                break
            time.sleep(0.5)
        else:
            pytest.skip(f"Slurm does not start here: {(root / 'log').read_text()[-500:]}")
        yield command


def _end(running):
    running.terminate()
    try:
        running.wait(20)
    except subprocess.TimeoutExpired:
        running.kill()
        running.wait()


def _user():
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name
