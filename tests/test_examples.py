"""The examples run as a newcomer would run them, without network access."""

import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_hparams import MaskFolderData, SegmentationTask
from lightning_hparams.data import voc_palette
from lightning_hparams.render import ERROR_COLORS, palette
from tests.runs import quiet_trainer, read_events

EXAMPLES = Path(__file__).parents[1] / "examples"
QUICK = ["--data", "synthetic", "--size", "32", "--epochs", "1", "--lr", "1e-3"]  # no range test

# A script that runs another one and fails at the first connection to another machine; worker
# processes of a DataLoader talk over sockets of the file system.
OFFLINE = """
import runpy, socket, sys
connect = socket.socket.connect
def refuse(*args, **kwargs):
    raise AssertionError(f"the network was asked for: {args}")
def connect_locally(self, address):
    return connect(self, address) if self.family == socket.AF_UNIX else refuse(address)
socket.create_connection = socket.getaddrinfo = refuse
socket.socket.connect = connect_locally
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


# A script that runs the example as on a machine with two GPUs, for which Lightning starts two
# processes of its own accord.
ON_TWO = f"""
import lightning
from lightning_hparams import LRRangeTest  # whose own Trainer is made of the real one
Trainer = lightning.Trainer
def on_two(**options):
    return Trainer(**options, accelerator="cpu", devices=2, strategy="ddp")
lightning.Trainer = on_two
exec(open({str(EXAMPLES / "segmentation.py")!r}).read())
"""


def run(folder, *arguments, python=sys.executable, script="segmentation.py"):
    command = [python, "-c", OFFLINE, str(EXAMPLES / script), *arguments]
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_example_is_short_enough_to_read_in_full():
    assert len((EXAMPLES / "segmentation.py").read_text().splitlines()) < 180
    assert len((EXAMPLES / "predict.py").read_text().splitlines()) < 60
    for name in ("classification", "detection", "finetune"):
        assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) < 80


def test_the_readme_picture_uses_the_palette():
    path = EXAMPLES.parent / "docs" / "images" / "predictions.png"
    assert path.stat().st_size < 250_000
    with Image.open(path) as picture:
        present = {color for _, color in picture.convert("RGB").getcolors(1 << 20)}
    shown = {color for name, color in ERROR_COLORS.items() if name != "ignored"}
    assert shown <= present
    assert {tuple(color) for color in palette(3)[1:].tolist()} <= present  # of the legend


def test_the_example_trains_draws_and_prints_where_to_look(tmp_path):
    result = run(tmp_path, "--data", "synthetic", "--size", "32", "--epochs", "2")
    assert result.returncode == 0, result.stderr[-3000:]
    assert re.search(r"disc\s+│ \d\.\d{3}", result.stdout)
    (sheet,) = (tmp_path / "runs" / "synthetic").rglob("predictions.png")
    with Image.open(sheet) as picture:
        assert picture.width > 1000
    events = read_events(sheet.parent)
    assert {
        "loss/train",
        "loss/val",
        "metric/miou/val",
        "class/iou/disc/val",
        "perf/samples_per_sec/train",
        "lr_range_test/suggestion",
    } <= set(events.Tags()["scalars"])
    assert (sheet.parent / "manifest.json").exists()
    # Chosen, worst and confusion of validation and of test; the range test.
    assert len(events.Tags()["images"]) == 2 * (8 + 4 + 1) + 1


def test_the_command_that_the_example_prints_runs_from_the_same_folder(tmp_path):
    """The environment is in .venv and not activated."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    python = tmp_path / ".venv" / "bin" / "python"
    arguments = [*QUICK, "--logdir", "my runs"]
    result = run(tmp_path, *arguments, python=str(python))
    assert result.returncode == 0, result.stderr[-3000:]
    command = re.search(r"Curves and pictures: +(.*)", result.stdout)[1]
    assert command == ".venv/bin/tensorboard --logdir 'my runs' --samples_per_plugin images=1000"
    shown = subprocess.run(
        f"{command} --inspect", shell=True, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "metric/miou/val" in shown.stdout
    longer = ["--epochs", "2", "--resume"]
    result = run(tmp_path, *arguments, *longer, python=str(python))
    assert result.returncode == 0, result.stderr[-3000:]
    assert "Restored all states from the checkpoint at my runs" in result.stderr
    last = re.search(r"End of training: +(.*)", result.stdout)[1]
    assert torch.load(tmp_path / last, weights_only=True)["epoch"] == 1
    result = run(tmp_path, *QUICK, "--logdir", "others", "--resume")
    assert result.returncode == 2
    assert "--resume: no checkpoint at others" in result.stderr


@pytest.mark.slow
def test_only_one_of_two_processes_prints_the_results(tmp_path):
    script = tmp_path / "on_two.py"
    script.write_text(ON_TWO)
    result = subprocess.run(
        [sys.executable, script, *QUICK],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(EXAMPLES.parent)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert "Traceback" not in result.stderr
    assert result.stdout.count("Scores on the test images") == 1
    assert result.stdout.count("Curves and pictures") == 1
    assert len(list(tmp_path.rglob("predictions.png"))) == 1


@pytest.mark.parametrize("epochs", ["0", "-1"])
def test_a_run_without_epochs_is_refused(tmp_path, epochs):
    result = run(tmp_path, "--epochs", epochs)
    assert result.returncode == 2
    assert f"--epochs must be 1 or more, got {epochs}" in result.stderr


KINDS = ["membranes", "camvid", "voc", "nuclei"]


def make_folder(root, kind, count=20, size=40):
    """Create images with masks of a common kind."""
    rng = np.random.default_rng(0)
    classes = {"camvid": 4, "voc": 3}.get(kind, 2)
    for number in range(count):
        mask = np.zeros((size, size + 8), np.uint8)
        for label in range(1, classes):
            row, column = rng.integers(0, size - 12, 2)
            mask[row : row + 12, column : column + 12] = label
        image = mask[..., None] * (200 // classes) + rng.integers(0, 50, (*mask.shape, 3))
        split = ["train", "train", "train", "val", "test"][number % 5]
        image_path, mask_path = {
            "membranes": (f"images/{number}.png", f"labels/{number}.png"),
            "camvid": (f"{split}/{number}.png", f"{split}annot/{number}.png"),
            "voc": (f"JPEGImages/{number}.jpg", f"SegmentationClass/{number}.png"),
            "nuclei": (f"{split}/images/{number}.png", f"{split}/masks/{number}_mask.png"),
        }[kind]
        stored = mask * 255 if classes == 2 else mask
        if kind == "camvid":
            stored[:2] = 11
        picture = Image.fromarray(stored)
        if kind == "voc":
            stored[:2] = 255
            picture = Image.fromarray(stored)
            picture.putpalette(np.array(voc_palette(256), np.uint8).tobytes())
        for path, content in {
            image_path: Image.fromarray(image.astype(np.uint8)),
            mask_path: picture,
        }.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            content.save(root / path)
    return root


OPTIONS = {"camvid": ["--ignore-index", "11"]}


@pytest.mark.parametrize(
    "kind", ["membranes", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[1:])]
)
def test_one_command_trains_on_a_folder_and_the_next_predicts(tmp_path, kind):
    make_folder(tmp_path / "my data", kind)
    quick = ["--size", "32", "--epochs", "1", "--lr", "1e-3", "--num-workers", "0"]
    result = run(tmp_path, "--data", "my data", *OPTIONS.get(kind, []), *quick)
    assert result.returncode == 0, result.stderr[-3000:]
    assert re.search(r"miou\s+│ \d\.\d{3}", result.stdout)
    kept = re.search(r"Tested \(best metric/miou/val\): +(.*)", result.stdout)[1]
    last = re.search(r"End of training: +(.*)", result.stdout)[1]
    assert (tmp_path / kept).is_file()
    assert (tmp_path / last).is_file()
    command = shlex.split(re.search(r"Masks of other images: +(.*)", result.stdout)[1])
    assert command[1:] == [str(EXAMPLES / "predict.py"), kept, "FOLDER", "OUT"]
    images = tmp_path / "new"
    images.mkdir()
    Image.fromarray(np.zeros((50, 70, 3), np.uint8)).save(images / "a.png")
    result = run(tmp_path, command[2], "new", "out", "--num-workers", "0", script="predict.py")
    assert result.returncode == 0, result.stderr[-3000:]
    assert "1 mask: out" in result.stdout
    with Image.open(tmp_path / "out" / "a.png") as mask:
        assert mask.size == (70, 50)


@pytest.mark.parametrize("kind", KINDS)
def test_classes_are_inferred_from_a_folder(tmp_path, kind):
    make_folder(tmp_path, kind, count=10)
    given = {"ignore_index": 11} if kind == "camvid" else {}
    data = MaskFolderData.guessed(tmp_path, size=32, num_workers=0, **given)
    data.setup("fit")
    expected = {"camvid": ("multiclass", 4, 11), "voc": ("multiclass", 3, 255)}
    facts = (data.task, data.num_classes, data.ignore_index)
    assert facts == expected.get(kind, ("binary", 2, None))
    assert (data.test_set is data.val_set) == (kind in ("membranes", "voc"))


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("camvid", ["--num-classes", "3"], r"but --num-classes 3; pass --ignore-index \d+, or"),
        ("voc", ["--mask-suffix", "_mask"], r"--masks: .* name ending in '_mask'"),
        ("voc", ["--classes", "a", "b", "a"], "--classes must differ from each other"),
        ("voc", ["--class-values", "{0:0"], r"--class-values: '{0:0' cannot .* '{0: 0, 255: 1}'"),
        ("voc", ["--palette", "{[0]: 1}"], r"--palette: .* cannot .* '\[\[0, 0, 0\], \[255, "),
        ("voc", ["--resume", "data/JPEGImages/0.jpg"], "--resume: no checkpoint at data/JPEG"),
        ("voc", ["--images", "data/JPEGImages"], "--images and --data data both name the images"),
    ],
)
def test_an_error_names_the_option_that_helps_without_a_traceback(
    tmp_path, kind, arguments, message
):
    make_folder(tmp_path / "data", kind, count=5)
    result = run(tmp_path, "--data", "data", *arguments)
    assert result.returncode == 2
    assert re.search(message, result.stderr)
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["--data", "synthetic", "--classes", "a", "b"], "--classes"),
        (["--masks", "labels"], "--masks"),
        (["--data", "synthetic", "--num-workers", "0"], "--num-workers"),
    ],
)
def test_options_for_a_folder_are_refused_with_built_in_data(tmp_path, arguments, option):
    result = run(tmp_path, *arguments)
    assert result.returncode == 2
    kind = "synthetic" if "synthetic" in arguments else "brain"
    message = f"error: {option} does not apply to --data {kind}; pass --data FOLDER"
    assert result.stderr.strip().endswith(message)
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"weight": torch.zeros(1)}, "it has no 'state_dict'; pass a .ckpt file that Lightning"),
        ("zip", "is not a checkpoint of Lightning"),
        ("other model", "of its weights differ .*: missing in the checkpoint, .* train the same"),
    ],
)
def test_a_zip_that_cannot_be_resumed_from_is_refused_in_a_sentence(tmp_path, content, reason):
    path = tmp_path / "some.zip"
    if content == "zip":
        with ZipFile(path, "w") as archive:
            archive.writestr("a.txt", "text")
    elif content == "other model":
        parts = {"loops": {}, "callbacks": {}, "optimizer_states": [], "lr_schedulers": []}
        torch.save({"state_dict": {"net.weight": torch.zeros(1)}, **parts}, path)
    else:
        torch.save(content, path)
    result = run(tmp_path, *QUICK, "--encoder", "tu-resnet10t", "--resume", "some.zip")
    assert result.returncode == 2, result.stderr
    assert re.search(f"error: some.zip .*{reason}", result.stderr)
    assert "Traceback" not in result.stderr


def test_masks_beside_the_images_are_not_predicted(tmp_path, checkpoint):
    (tmp_path / "new").mkdir()
    for name in ("1_sat.jpg", "1_mask.png"):
        Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(tmp_path / "new" / name)
    result = run(tmp_path, checkpoint, "new", "out", "--num-workers", "0", script="predict.py")
    assert result.returncode == 0, result.stderr[-3000:]
    assert "1 mask: out" in result.stdout
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["1_sat.png"]


def test_a_missing_folder_or_checkpoint_is_named(tmp_path):
    result = run(tmp_path, "--data", "nowhere")
    assert result.returncode == 2
    assert "nowhere is not a folder; check the path" in result.stderr
    result = run(tmp_path, "none.ckpt", "in", "out", script="predict.py")
    assert result.returncode == 2
    assert "none.ckpt is not a file; check the path" in result.stderr


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "task.ckpt"
    task = SegmentationTask(encoder="tu-resnet10t", num_classes=2, class_names=["a", "b"])
    trainer = quiet_trainer(max_epochs=0)
    trainer.strategy.connect(task)
    trainer.save_checkpoint(path)
    return str(path)


@pytest.mark.parametrize("content", ["text", "empty", "state dict", "list", "half"])
def test_a_file_that_is_not_a_checkpoint_is_refused_in_a_sentence(tmp_path, content):
    path = tmp_path / "make.py"
    if content == "state dict":
        torch.save({"weight": torch.zeros(1)}, path)
    elif content == "list":
        torch.save([1], path)
    elif content == "half":
        torch.save({"weight": torch.zeros(99)}, path)
        path.write_bytes(path.read_bytes()[:300])
    else:
        path.write_text("import this\n" if content == "text" else "")
    result = run(tmp_path, "make.py", "in", "out", script="predict.py")
    assert result.returncode == 2, result.stderr
    assert "make.py is not a checkpoint of a SegmentationTask" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("workers", ["0", "1"])
@pytest.mark.parametrize("fault", ["same folder", "damaged image"])
def test_an_error_of_a_prediction_is_one_sentence(tmp_path, checkpoint, fault, workers):
    image = tmp_path / "new" / "a.png"
    image.parent.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)
    Image.fromarray(pixels).save(image)
    out, message = "new", "PredictionWriter's folder must not be the folder of the images"
    if fault == "damaged image":
        image.write_bytes(image.read_bytes()[:-40])
        out, message = "out", "new/a.png cannot be read as an image"
    result = run(tmp_path, checkpoint, "new", out, "--num-workers", workers, script="predict.py")
    assert result.returncode == 2, result.stderr
    assert f"error: {message}" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_unwritable_log_folder_is_refused_first(tmp_path):
    (tmp_path / "file").write_text("")
    result = run(tmp_path, "--logdir", "file/runs")
    assert result.returncode == 2
    assert "--logdir 'file/runs' cannot be written to" in result.stderr
    assert "Epoch" not in result.stdout


@pytest.mark.slow
def test_the_example_matches_the_score_of_a_plain_loop_in_as_many_steps(tmp_path):
    """A plain loop reached 0.870 (grey 0.825, white 0.812) in 191 steps at a given rate."""
    pytest.importorskip("nilearn", reason="nilearn is not installed")
    result = run(tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    scores = {
        name: float(re.search(rf"{name}\s+│ (\d\.\d{{3}})", result.stdout)[1])
        for name in ("grey matter", "white matter", "miou")
    }
    assert scores["miou"] >= 0.87
    assert scores["grey matter"] >= 0.825
    assert scores["white matter"] >= 0.812
    (folder,) = (tmp_path / "runs" / "brain").iterdir()
    steps = [event.step for event in read_events(folder).Scalars("lr/decoder")]
    assert max(steps) <= 191


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "options", "score"),
    [
        ("classification.py", ["--size", "8"], "metric/accuracy/test"),
        ("detection.py", ["--size", "64"], "metric/map/test"),
        ("finetune.py", ["--size", "32", "--frozen-epochs", "0"], "metric/miou/test"),
    ],
)
def test_the_examples_of_other_tasks_end_with_scores_a_checkpoint_and_a_picture(
    tmp_path, script, options, score
):
    result = run(tmp_path, "--epochs", "1", "--lr", "1e-3", *options, script=script)
    assert result.returncode == 0, result.stderr[-3000:]
    assert score in result.stdout
    (best,) = tmp_path.rglob("best.ckpt")
    assert str(best.relative_to(tmp_path)) in result.stdout
    (sheet,) = tmp_path.rglob("predictions.png")
    with Image.open(sheet) as picture:
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 100


@pytest.mark.parametrize(
    ("script", "options", "reason"),
    [
        ("classification.py", ["--data", "missing"], "missing"),
        ("classification.py", ["--labels", "table.csv"], "--labels needs --data"),
        ("detection.py", ["--voc", "missing"], "missing"),
        ("detection.py", ["--coco", "file.json"], "--images"),
        ("finetune.py", ["--size", "3"], "size"),
    ],
)
def test_a_mistake_ends_the_other_examples_in_a_sentence(tmp_path, script, options, reason):
    result = run(tmp_path, *options, script=script)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert reason in result.stderr.splitlines()[-1]


def test_the_gallery_names_examples_that_exist_and_ends_in_a_sentence(tmp_path):
    text = (EXAMPLES / "gallery.py").read_text()
    for script in re.findall(r'\["(\w+\.py)"', text):
        assert (EXAMPLES / script).exists()
    result = run(tmp_path, "--epochs", "0", "--only", "segmentation", script="gallery.py")
    assert result.returncode == 2
    assert "--epochs must be 1 or more" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_the_gallery_shows_two_runs_and_does_not_repeat_them(tmp_path):
    arguments = ["--epochs", "1", "--only", "classification", "comparison"]
    for attempt in range(2):
        result = run(tmp_path, *arguments, script="gallery.py")
        assert result.returncode == 0, result.stderr[-3000:]
        assert ("fixed-rate ..." in result.stdout) == (attempt == 0)
    page = (tmp_path / "gallery" / "index.md").read_text()
    assert "python examples/classification.py --lr 0.001 --epochs 1" in page
    assert "LR range test: " in page
    assert re.search(r"\| metric/accuracy/val \| \d\.\d{3} \|", page)
    pictures = re.findall(r"!\[.+\]\((.+\.png)\)", page)
    assert len(pictures) == 4
    for name in pictures:
        path = tmp_path / "gallery" / name
        assert path.stat().st_size <= 200_000
        with Image.open(path) as picture:
            assert len(picture.convert("RGB").getcolors(1 << 20)) > 20
    assert len(list(tmp_path.rglob("manifest.json"))) == 2


def test_the_search_in_python_and_its_twin_in_yaml_are_one():
    from lightning_hparams.search import SearchSettings

    script = runpy.run_path(str(EXAMPLES / "search.py"))
    ours = script["make_search"]("tpe", trials=6, workers=2, folder="studies", seed=1)
    twin = SearchSettings.from_yaml(EXAMPLES / "search.yaml")
    assert ours.settings.to_mapping() == twin.to_mapping()


@pytest.mark.slow
def test_the_search_compares_samplers_and_leaves_reports(tmp_path):
    arguments = ["--samplers", "random", "qmc", "--trials", "2"]
    command = [sys.executable, str(EXAMPLES / "search.py"), *arguments]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "Accuracy on handwritten digits" in result.stdout
    for sampler in ("random", "qmc"):
        folder = tmp_path / "studies" / f"digits-{sampler}"
        assert "Timeline" in (folder / "report.html").read_text()
        assert (folder / "best.ckpt").is_file()
