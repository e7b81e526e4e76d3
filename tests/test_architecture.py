"""The layout of the design: root files are pure, folders are glue, imports run one way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lightning_hparams

PACKAGE = Path(lightning_hparams.__file__).parent
ROOT_FILES = sorted(p for p in PACKAGE.glob("*.py") if p.stem not in {"__init__", "__main__"})
# Root files that grew into a package of the same name: still pure.
PURE_PACKAGES = {"render"}
PURE_FILES = [*ROOT_FILES, *(p for name in PURE_PACKAGES for p in (PACKAGE / name).glob("*.py"))]
PURE = {path.stem for path in ROOT_FILES} | PURE_PACKAGES
# A folder may import what stands behind it; every one may import the pure files.
MAY_IMPORT = {
    "callbacks": {"sinks"},
    "sinks": set(),
    "tasks": set(),
    "data": set(),
}
GLUE = {"lightning", "pytorch_lightning", "tensorboard", "mlflow", "optuna", "ray"}


def imports(path):
    """Absolute names of the modules that a file imports, type checking included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = ["lightning_hparams", *path.relative_to(PACKAGE).parts]
                base = ".".join([*here[: -node.level], *base.split(".")]).rstrip(".")
            found.add(base)
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def own(names):
    return {name.split(".")[1] for name in names if name.startswith("lightning_hparams.")}


@pytest.mark.parametrize("folder", sorted(MAY_IMPORT))
def test_folders_import_only_what_stands_behind_them(folder):
    for path in (PACKAGE / folder).glob("*.py"):
        reached = own(imports(path)) - PURE - {folder}
        assert reached <= MAY_IMPORT[folder], path


def test_every_folder_has_its_rule():
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == set(MAY_IMPORT) | PURE_PACKAGES


def test_no_callback_imports_another():
    callbacks = {path.stem for path in (PACKAGE / "callbacks").glob("[a-z]*.py")}
    for path in (PACKAGE / "callbacks").glob("[a-z]*.py"):
        assert not {name.rsplit(".", 1)[-1] for name in imports(path)} & (callbacks - {path.stem})


@pytest.mark.parametrize("path", PURE_FILES, ids=lambda path: path.stem)
def test_root_files_import_no_glue(path):
    assert not {name.split(".")[0] for name in imports(path)} & GLUE
    assert own(imports(path)) <= PURE


def test_there_is_no_circle():
    modules = {
        ".".join(["lightning_hparams", *path.relative_to(PACKAGE).with_suffix("").parts]): path
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py"
    }
    graph = {name: imports(path) & set(modules) for name, path in modules.items()}
    done = set()
    while ready := {name for name in graph if name not in done and graph[name] <= done}:
        done |= ready
    assert done == set(graph)


def run(code):
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import sys, lightning_hparams\n"
        "heavy = {'torch', 'lightning', 'optuna', 'mlflow', 'tensorboard', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert run(code).stdout.strip() == "[]"


def test_root_files_work_without_the_glue():
    """One process for all of them: importing torch takes a second."""
    code = (
        "import sys, importlib, warnings\n"
        "warnings.simplefilter('default')\n"
        f"for name in {sorted(GLUE)!r}: sys.modules[name] = None\n"
        f"for name in {sorted(PURE)!r}:\n"
        "    importlib.import_module('lightning_hparams.' + name)\n"
        "print('done')"
    )
    result = run(code)
    assert result.stdout.strip() == "done", result.stderr


def test_every_public_name_is_there_and_known_to_type_checkers():
    source = (PACKAGE / "__init__.py").read_text(encoding="utf-8")
    for name in lightning_hparams.__all__:
        assert getattr(lightning_hparams, name) is not None
        assert name == "__version__" or f"import {name} as {name}" in source
    assert set(lightning_hparams.__all__) <= set(dir(lightning_hparams))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'SegmentationTusk'"):
        _ = lightning_hparams.SegmentationTusk
