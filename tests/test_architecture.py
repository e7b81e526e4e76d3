"""The layout: what each room is for, and which others it may import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lightning_hparams

PACKAGE = Path(lightning_hparams.__file__).parent
# Each room, and the rooms that it may import; every one may import the modules at the root that
# stand in LOWER. A room of the upper half may import Lightning, one of the lower half may not.
UPPER = {
    "cli": {"search", "configuration", "callbacks", "tasks", "range_test", "provenance", "doctor"},
    "configuration": {"callbacks", "tasks", "data", "presets", "provenance", "record"},
    "search": {"configuration", "callbacks", "record", "sinks", "sweep", "range_test", "presets"}
    | {"provenance", "tags", "render", "speed", "tasks", "data", "internals"},
    "testing": {"callbacks", "sinks", "range_test", "schedules", "samples", "render"},
    "callbacks": {"sweep", "scheduler", "record", "sinks", "range_test", "schedules", "metrics"}
    | {"samples", "render", "speed", "provenance", "tags", "internals"},
    "sweep": {"sinks", "range_test", "schedules", "render", "internals"},
    "scheduler": {"schedules"},
    "record": {"sinks", "provenance", "tags"},
    "sinks": {"render", "provenance", "tags", "internals"},
    "tasks": {"losses", "metrics", "presets", "tags"},
    "data": set(),
    "doctor": {"data", "speed", "configuration"},
}
LOWER = {
    "internals": set(),
    "range_test": {"render"},
    "samples": {"metrics", "render"},
    "render": {"metrics"},
    "presets": {"schedules"},
    "schedules": set(),
    "losses": set(),
    "metrics": set(),
    "speed": set(),
    "provenance": set(),
    "tags": set(),
}
ROOMS = UPPER | LOWER
ROOT = {
    "boxes": {"checks", "outputs"},
    "checks": set(),
    "hparam_slots": set(),
    "function_copies": set(),
    "held_optimizers": {"function_copies"},
    "isolation": {"function_copies", "held_optimizers", "internals", "random_states"},
    "json_text": set(),
    "notices": set(),
    "optim": {"checks"},
    "outputs": set(),
    "plain_hparams": {"checks", "internals"},
    "random_states": {"function_copies"},
    "resize": set(),
}
FOR_ALL = {
    "_asdict",
    "_replace",
    "_exit",
    "_generate_state_key",
}  # of namedtuples, os, and Lightning's callbacks
GLUE = {"lightning", "pytorch_lightning", "tensorboard", "mlflow", "optuna", "ray"}


def imports(path, *, for_types=True):
    """Absolute names of the modules that a file imports, those ``if TYPE_CHECKING`` on request."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not for_types:
        tree.body = [node for node in tree.body if not is_type_checking(node)]
    found = set()
    for node in ast.walk(tree):
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


def is_type_checking(node):
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def own(names):
    return {name.split(".")[1] for name in names if name.startswith("lightning_hparams.")}


def files(room):
    return sorted((PACKAGE / room).glob("*.py"))


def test_every_room_and_root_module_has_its_rule():
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(ROOMS)
    assert {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"} == set(ROOT)


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_imports_only_what_its_rule_allows(room):
    for path in files(room):
        assert own(imports(path)) - {room} <= ROOMS[room] | {*ROOT, "__version__"}, path


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_is_entered_by_its_door(room):
    """What other rooms use of it stands in its ``__init__.pyi``, which hides the files behind."""
    doors = {".".join(["lightning_hparams", room, path.stem]) for path in files(room)}
    for other in PACKAGE.rglob("*.py"):
        if other.parent.name != room:
            assert not imports(other) & doors, other


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_says_what_it_is_for(room):
    text = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text("utf-8")))
    assert len(text) > 20


@pytest.mark.parametrize("module", sorted(ROOT))
def test_root_modules_import_only_each_other(module):
    assert own(imports(PACKAGE / f"{module}.py")) <= ROOT[module]


@pytest.mark.parametrize("room", sorted(LOWER))
def test_the_lower_half_imports_no_glue(room):
    for path in files(room):
        found = {name.split(".")[0] for name in imports(path, for_types=False)}
        assert not found & GLUE, path


def test_no_callback_imports_another():
    callbacks = {path.stem for path in (PACKAGE / "callbacks").glob("[a-z]*.py")}
    for path in (PACKAGE / "callbacks").glob("[a-z]*.py"):
        within = {
            name.split(".")[2]
            for name in imports(path)
            if name.startswith("lightning_hparams.callbacks.")
        }
        bases = {"param_scheduler"} if path.stem == "cycles" else set()  # which it is a kind of
        assert not within & (callbacks - {path.stem} - bases), path


def test_there_is_no_circle():
    """Between modules; a room's door leads to all that is behind it."""
    modules = {
        ".".join(["lightning_hparams", *path.relative_to(PACKAGE).with_suffix("").parts]): path
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py"
    }
    graph = {name: imports(path) & set(modules) for name, path in modules.items()}
    for name, path in modules.items():
        for room in own(imports(path)) & set(ROOMS) - {path.parent.name}:
            graph[name] |= {other for other in modules if other.split(".")[1] == room}
    done = set()
    while ready := {name for name in graph if name not in done and graph[name] <= done}:
        done |= ready
    assert done == set(graph)


def run(code):
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_importing_the_package_imports_nothing_heavy():
    rooms = ", ".join(f"lightning_hparams.{room}" for room in sorted(ROOMS))
    code = (
        f"import sys, lightning_hparams, {rooms}\n"
        "heavy = {'torch', 'lightning', 'optuna', 'mlflow', 'tensorboard', 'numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert run(code).stdout.strip() == "[]"


def test_the_lower_half_works_without_the_glue():
    """One process for all of it: importing torch takes a second."""
    names = [*sorted(ROOT), *(f"{room}.{path.stem}" for room in LOWER for path in files(room))]
    code = (
        "import sys, importlib, warnings\n"
        "warnings.simplefilter('default')\n"
        f"for name in {sorted(GLUE)!r}: sys.modules[name] = None\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module('lightning_hparams.' + name)\n"
        "print('done')"
    )
    result = run(code)
    assert result.stdout.strip() == "done", result.stderr


@pytest.mark.parametrize("room", ["", *sorted(ROOMS)])
def test_every_name_at_a_door_is_there(room):
    __import__(f"lightning_hparams.{room}".rstrip("."))
    package = getattr(lightning_hparams, room) if room else lightning_hparams
    assert package.__all__
    for name in package.__all__:
        assert getattr(package, name) is not None
    assert set(package.__all__) <= set(dir(package))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="SegmentationTusk"):
        _ = lightning_hparams.SegmentationTusk


def test_private_parts_of_others_are_used_in_one_room_alone():
    """``other._name`` elsewhere is an attribute of this package, or one made for subclasses."""
    ours = {
        node.attr if isinstance(node, ast.Attribute) else node.name
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        or (isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store))
    }
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name == "internals":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
                assert node.attr.startswith("__") or node.attr in ours | FOR_ALL, (
                    f"{path}:{node.lineno} {node.attr}"
                )


def test_files_and_classes_are_short():
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 500, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                assert node.end_lineno - node.lineno < 250, f"{path}: {node.name}"
