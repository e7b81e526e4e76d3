"""TensorBoard and MLflow on this machine, and their pages as a person sees them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = Path("/usr/bin/chromium")
STATUSES = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]


class Server:
    def __init__(self, url):
        self.url = url

    def get(self, path, body=None, **query):
        url = f"{self.url}/data/{path}"
        if query:
            url += "?" + urllib.parse.urlencode(query)
        request = urllib.request.Request(url, headers={"Content-Type": "application/json"})
        if body is not None:
            request.data = json.dumps(body).encode()
        with urllib.request.urlopen(request, timeout=30) as answer:
            data = answer.read()
            return json.loads(data) if "json" in answer.headers["Content-Type"] else data

    def wait_for(self, ready, timeout_s=60):
        """Until the reader, which is a process of its own, has what is asked for."""
        end = time.monotonic() + timeout_s
        while not (answer := ready()):
            assert time.monotonic() < end, "TensorBoard has not read it"
            time.sleep(0.05)
        return answer

    def rows(self):
        """Of the HParams table: ``{run: (status, hparams, metrics)}``, by the first of a row."""
        body = {
            "experimentName": "",
            "allowedStatuses": STATUSES,
            "colParams": [],
            "startIndex": 0,
            "sliceSize": 100,
        }
        groups = self.get("plugin/hparams/session_groups", body)["sessionGroups"]
        return {
            group["sessions"][0]["name"]: (
                group["sessions"][0]["status"],
                group["hparams"],
                {m["name"]["tag"]: m["value"] for m in group["metricValues"]},
            )
            for group in groups
        }

    def columns(self):
        return self.get("plugin/hparams/experiment", {"experimentName": ""})


@contextmanager
def tensorboard(folder):
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder)]
    command += ["--host", "127.0.0.1", "--port", "0", "--reload_interval", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        address = None
        for line in process.stderr:
            if address := re.search(r"http://\S+:\d+", line):
                break
        assert address, "TensorBoard did not start"
        yield Server(address[0])
    finally:
        process.terminate()
        process.wait(20)
        process.stderr.close()


@contextmanager
def mlflow_ui(uri, log):
    """The address of an MLflow server on this machine; what it says is written to a file."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/health")
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _wait_for(url, timeout_s=90):
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        try:
            return urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(url)


@contextmanager
def browser():
    """A page of Chromium without a screen; skipped where there is none."""
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is missing: install Debian's package `chromium`")
    playwright = pytest.importorskip("playwright.sync_api")
    options = ["sandbox", "first-run"]
    options = [f"--no-{option}" for option in options] + ["--disable-gpu", "--disable-quic"]
    options += [f"--disable-{it}" for it in ("background-networking", "component-update", "sync")]
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=str(CHROMIUM), args=options)
        try:
            yield chromium.new_page(viewport={"width": 1500, "height": 900})
        finally:
            chromium.close()


def look(page, address, *words, exact=False):
    """Open a page and wait until it shows all of the words, loading it again every minute."""
    from playwright.sync_api import TimeoutError as TooLate

    page.set_default_timeout(60_000)
    page.goto(address, wait_until="commit")
    for word in words:
        shown = page.get_by_text(word, exact=exact).first
        for _ in range(4):
            try:
                shown.wait_for()
                break
            except TooLate:
                page.reload(wait_until="commit")
        else:
            shows = page.locator("body").inner_text()[:2000]
            raise AssertionError(f"{address} does not show {word!r} but: {shows}")
