import math

import pytest

from lightning_hparams.search.winner import (
    Repeated,
    best_trials,
    keep_best_checkpoints,
    metric_in_test,
    ranked,
    repeat_best,
    repeat_seeds,
    repeated_text,
    stored_repeats,
)
from tests.search.studies import trial


def numbers(trials):
    return [each.number for each in trials]


def test_the_best_trials_are_complete_and_differ_in_their_parameters():
    trials = [
        trial(0, value=0.5, lr=0.1),
        trial(1, value=0.3, lr=0.2),
        trial(2, value=0.3, lr=0.2),
        trial(3, "pruned", 0.1),
        trial(4, value=float("inf"), lr=0.3),
        trial(5, value=0.4, lr=0.4),
        trial(6, value=0.2, lr=0.6, user_attrs={"outcome": "diverged"}),
    ]
    assert numbers(best_trials(trials, "min", 2)) == [1, 5]
    assert numbers(best_trials(trials, "max", 9)) == [0, 5, 1]


@pytest.mark.parametrize(
    ("metric", "logged", "found"),
    [
        ("metric/miou/val", ["metric/miou/test", "loss/test"], "metric/miou/test"),
        ("class/iou/road/val/val", ["class/iou/road/val/test"], "class/iou/road/val/test"),
        ("val_acc", ["acc", "test_acc"], "test_acc"),
        ("acc/valid", ["acc/test"], "acc/test"),
        ("Val-F1", ["Test-F1"], "Test-F1"),
        ("score", ["score"], "score"),
        ("val_acc", ["test_loss"], None),
    ],
)
def test_the_name_of_a_metric_in_a_test_follows_from_that_in_validation(metric, logged, found):
    assert metric_in_test(metric, logged) == found


def test_the_best_trials_are_tested_with_the_same_seeds(tmp_path):
    trials = [trial(n, value=value) for n, value in enumerate((0.9, 0.8, 0.7, 0.1))]
    scores = {0: 0.5, 1: 0.6, 2: 0.4}
    seen = []

    def run(one, seed):
        seen.append((one.number, seed))
        return scores[one.number] + seed / 100

    found = repeat_best(tmp_path, trials, "max", count=3, seeds=[1, 3], run=run, told=seen.append)
    assert [each for each in seen if isinstance(each, tuple)] == [
        (number, seed) for number in (0, 1, 2) for seed in (1, 3)
    ]
    assert numbers(found) == [1, 0, 2]
    assert found[0].mean == pytest.approx(0.62)
    assert found[0].std == pytest.approx(0.02 / math.sqrt(2))
    lines = repeated_text(found, "max").splitlines()
    assert "up from rank 2" in lines[1]
    assert "down from rank 1" in lines[2]
    assert "from" not in lines[3]


def test_repetitions_go_on_where_they_were_interrupted(tmp_path):
    trials = [trial(0, value=0.9), trial(1, value=0.8)]
    done = []

    def run(one, seed):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append((one.number, seed))
        return 0.5

    options = {"count": 2, "seeds": [1, 2], "run": run, "told": lambda text: None}
    with pytest.raises(KeyboardInterrupt):
        repeat_best(tmp_path, trials, "max", **options)
    assert sum(len(each.scores) for each in stored_repeats(tmp_path)) == 3
    done.clear()
    found = repeat_best(tmp_path, trials, "max", **options)
    assert done == [(1, 2)]
    assert all(len(each.scores) == 2 for each in found)
    assert stored_repeats(tmp_path / "elsewhere") == []


def test_a_trial_without_a_number_as_score_is_ranked_last():
    found = [Repeated(0, 0.9, {1: math.nan}), Repeated(1, 0.1, {1: 0.1}), Repeated(2, 0.5, {})]
    for mode in ("min", "max"):
        assert ranked(found, mode)[0].number == 1


def test_seeds_of_repetitions_differ_and_begin_alike():
    assert len({*repeat_seeds(0, 20), *repeat_seeds(1, 20)}) == 40
    assert repeat_seeds(0, 20)[:3] == repeat_seeds(0, 3)


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.ckpt"))


def test_only_the_best_and_the_running_trials_keep_checkpoints(tmp_path):
    trials = []
    for number in range(50):
        folder = tmp_path / "trials" / str(number)
        (folder / "version_0" / "checkpoints").mkdir(parents=True)
        trials.append(trial(number, value=abs(number - 20) + 1.5 + number / 1000, lr=0.1 + number))
        for name in ("last.ckpt", "best.ckpt", "version_0/checkpoints/epoch=1.ckpt"):
            (folder / name).write_text(f"{number} {name}")
        if number >= 48:
            trials[-1] = trial(number, "running")
            (folder / "best.ckpt").unlink()
            (folder / "version_0" / "checkpoints" / "epoch=1.ckpt").unlink()
    best = keep_best_checkpoints(tmp_path, trials, "min", keep=3)
    assert best == tmp_path / "best.ckpt"
    assert best.read_text() == "20 best.ckpt"
    kept = [name for name in files(tmp_path) if name != "best.ckpt"]
    assert kept == sorted(
        [f"trials/{number}/best.ckpt" for number in (19, 20, 21)]
        + [f"trials/{number}/last.ckpt" for number in (48, 49)]
    )
    assert keep_best_checkpoints(tmp_path, trials, "min", keep=3) == best
    trials[48] = trial(48, value=0.5)
    (tmp_path / "trials" / "48" / "best.ckpt").write_text("new")
    assert keep_best_checkpoints(tmp_path, trials, "min", keep=3).read_text() == "new"


def test_there_is_no_best_checkpoint_without_a_complete_trial(tmp_path):
    assert keep_best_checkpoints(tmp_path, [trial(0, "failed")], "min", keep=3) is None
