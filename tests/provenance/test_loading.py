import json
import os

import pytest

from lightning_hparams.provenance import load_manifest, take, to_json


def test_a_written_manifest_is_loaded(tmp_path):
    manifest = json.loads(to_json({**take({"lr": 0.1}), "earlier": [{"status": "killed"}]}))
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(manifest))
    assert load_manifest(path) == load_manifest(tmp_path) == (manifest, "")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "cannot be read"),
        (b'{"format": 1', "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b"[1]", "must contain an object, got list"),
        (b"null", "must contain an object, got None"),
        (b'{"earlier": null}', "`format` must be 1 to 1, got null"),
        (b'{"format": "1"}', '`format` must be 1 to 1, got "1"'),
        (b'{"format": true}', "`format` must be 1 to 1, got true"),
        (b'{"format": 2}', "`format` must be 1 to 1, got 2"),
        (b'{"format": 1, "earlier": null}', "`earlier` must be a list of objects, got null"),
        (b'{"format": 1, "earlier": [3]}', "`earlier` must be a list of objects, got [3]"),
    ],
)
def test_anything_but_a_manifest_is_refused_with_a_reason(tmp_path, text, reason):
    (tmp_path / "manifest.json").write_bytes(text)
    found, message = load_manifest(tmp_path)
    assert found is None
    assert reason in message
    assert "manifest.json" in message


def test_only_regular_files_are_read(tmp_path):
    """Opening a pipe would wait for a writer forever."""
    os.mkfifo(tmp_path / "manifest.json")
    for path in (tmp_path, tmp_path / "elsewhere"):
        found, message = load_manifest(path)
        assert found is None
        assert "there is no manifest at" in message
