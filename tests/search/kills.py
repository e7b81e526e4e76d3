"""Studies whose workers are killed with -9, at random moments or at chosen ones.

``python -m tests.search.kills SCENARIO STUDIES FOLDER [URL]`` prints what went wrong, and how
many trials were interrupted, as JSON. The workers are forks of a process that has imported
everything, so that a study takes seconds.
"""

import contextlib
import gc
import itertools
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

SIGNALS = ("SIGTERM", "SIGUSR1", "SIGINT")
TRIALS, EPOCHS, WORKERS = 3, 3, 2
AT_HOLES = 2  # trials of a study that is killed at a hole


def fork(action):
    """Run a function in a child process; return its number."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        log = os.open("child.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        action()
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def worker(folder, index, hole=None, passes=0):
    """Start a worker of a study, which kills itself at a hole once it has passed it a few times."""

    def run():
        from lightning_hparams.search import open_from
        from lightning_hparams.search.worker import Worker

        study, base = open_from(folder)
        if hole is not None:
            HOLES[hole](study, passes)
        Worker(study, base, index).run()

    return fork(run)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def deadly(function, passes, at=lambda *given: True):
    """The function, in whose place the process dies when it has been called so often."""
    calls = itertools.count()

    def called(*given, **more):
        if at(*given) and next(calls) >= passes:
            die()
        return function(*given, **more)

    return called


def within_ask(study, passes):
    """While the sampler thinks."""
    space = type(study.settings.space)
    space.suggest = deadly(space.suggest, passes)


def before_the_first_beat(study, passes):
    study.database.record_heartbeat = deadly(study.database.record_heartbeat, passes)


def before_the_result(study, passes):
    """After training, before the trial is told."""
    study.tell = deadly(study.tell, passes)


def while_putting_back(study, passes):
    """A trial of a dead worker is marked, and not yet in the queue."""
    from optuna.trial import TrialState

    database = study.database
    database.set_trial_state_values = deadly(
        database.set_trial_state_values, passes, lambda key, state, *_: state == TrialState.WAITING
    )


def while_saving(study, passes):
    """The new checkpoint is written, and not yet in its place."""
    Path.replace = deadly(Path.replace, passes, lambda path, _: path.name == ".new.ckpt")


def between_fail_and_retry(study, passes):
    """Optuna's own way, by another program: it fails a trial, and is killed before the next."""
    from optuna.trial import TrialState

    running = [one for one in study.get_trials() if one.state == TrialState.RUNNING]
    for trial in running[: 1 + passes]:
        study.database.set_trial_state_values(study.database_id(trial), TrialState.FAIL)
    die()


# How often a study comes to each.
_HOLES = {
    within_ask: AT_HOLES,
    before_the_first_beat: 2 * AT_HOLES,  # once in the transaction of `ask`, and once after it
    before_the_result: AT_HOLES,
    while_putting_back: WORKERS,  # as often as workers were killed before
    while_saving: AT_HOLES * EPOCHS,
    between_fail_and_retry: WORKERS,
}
HOLES = {one.__name__: one for one in _HOLES}
TIMES = {one.__name__: times for one, times in _HOLES.items()}
AFTER_A_DEATH = ("while_putting_back", "between_fail_and_retry")


def prepare(folder, url=None, log=None, pause=0.01, trials=TRIALS):
    from lightning_hparams.configuration import Configuration
    from lightning_hparams.search import Search, open_study
    from lightning_hparams.search.files import keep
    from tests.search import tiny

    given = tiny.configuration(EPOCHS, pause=pause, log=log)
    settings = tiny.settings(
        folder, trials=trials, retries=9, storage=url, name=f"study {Path(folder).name}"
    )
    search = Search.of(Configuration.load(given), settings)
    study = open_study(settings)
    keep(study, search.configuration)


def wait(pids, seconds=120):
    """Wait for children; return whether all ended by themselves and well."""
    end, codes = time.monotonic() + seconds, []
    for pid in pids:
        while time.monotonic() < end:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                codes.append(status)
                break
            time.sleep(0.01)
        else:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            codes.append(-1)
    return not any(codes)


def trials_of(folder):
    from lightning_hparams.search import find_study

    return find_study(folder).get_trials()


def within_a_trial(folder, seed):
    """Wait until an epoch was trained, and a little longer."""
    log, end = Path(f"{folder}.log"), time.monotonic() + 60
    while not log.stat().st_size and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(random.Random(seed).uniform(0.0, 0.2))


def at_random(folder, seed, longest, *, tree):
    """Kill one of two workers, or both, at some moment, and start them again."""
    chance = random.Random(seed)
    pids = [worker(folder, index) for index in range(WORKERS)]
    time.sleep(chance.uniform(0.0, longest))
    for pid in pids if tree else pids[:1]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    before = trials_of(folder)
    again = [worker(folder, index) for index in range(WORKERS if tree else 1)]
    return before, wait(again + ([] if tree else pids[1:]))


def at_a_signal(folder, seed, name):
    """Ask a worker to stop, as a scheduler does, and start another one."""
    pid = worker(folder, 0)
    within_a_trial(folder, seed)
    started = time.monotonic()
    os.kill(pid, getattr(signal, name))
    wait([pid])  # its exit code says that it was asked to stop, or that it gave up a trial
    in_time = time.monotonic() - started < 5
    before = trials_of(folder)
    back = not any(trial.state.name == "RUNNING" for trial in before)
    return before, wait([worker(folder, 0)]) and in_time and back


def in_a_long_step(folder):
    """Ask a worker to stop while a step takes a minute; return seconds and states."""
    from lightning_hparams.search import open_from

    pid, study = worker(folder, 0), open_from(folder)[0]
    end = time.monotonic() + 60
    while time.monotonic() < end and not any(t.state.name == "RUNNING" for t in study.get_trials()):
        time.sleep(0.05)
    time.sleep(1.0)
    started = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    wait([pid])
    return {
        "seconds": time.monotonic() - started,
        "states": [trial.state.name for trial in study.get_trials()],
    }


def kill_within_trials(folder, count):
    """Kill so many workers, each within a trial."""
    from lightning_hparams.search import find_study

    study = find_study(folder)  # for reading, while stopped workers may hold locks
    pids = [worker(folder, index) for index in range(count)]
    end = time.monotonic() + 60
    while time.monotonic() < end:
        time.sleep(0.02)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        if sum(one.state.name == "RUNNING" for one in study.get_trials()) == count:
            break
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def at_a_hole(folder, seed, hole):
    """Kill a worker at a hole that it has passed a few times, and start one or two others."""
    passes = seed % TIMES[hole]
    if hole in AFTER_A_DEATH:
        kill_within_trials(folder, 1 + passes)
    _, status = os.waitpid(worker(folder, 0, hole, passes), 0)
    before = trials_of(folder)
    reached = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return before, wait([worker(folder, index) for index in range(1 + seed % 2)]) and reached


def faults(folder, before, log, expected, kills):
    """What is wrong with a study after it was killed and has ended."""
    from optuna.trial import TrialState

    from lightning_hparams.search import root_number, trial_record

    trials = trials_of(folder)
    found = {}
    counted = [one for one in trials if one.state != TrialState.FAIL]
    unfinished = [one.number for one in trials if not one.state.is_finished()]
    roots = Counter(root_number(one) for one in counted)
    lost = [
        one.number
        for one in before
        if one.state == TrialState.COMPLETE and trials[one.number].value != one.value
    ]
    found["unfinished"], found["lost"] = unfinished, lost
    found["doubled"] = [root for root, times in roots.items() if times > 1]
    found["missing"] = len(expected) - len(roots)
    epochs = Counter(tuple(line.split()[:2]) for line in Path(log).read_text().splitlines())
    found["repeated"] = max(0, sum(epochs.values()) - len(expected) * EPOCHS - kills)
    results = {}
    for one in counted:
        record = trial_record(folder, root_number(one))
        results[root_number(one)] = [record["params"], record["reports"], record["weights"]]
    failed = len(trials) > len(counted)  # the numbers of later trials have moved, and their seeds
    found["other"] = [
        number
        for number, result in enumerate(expected[: 1 if failed else None])
        if results.get(number) != result
    ]
    return {name: value for name, value in found.items() if value}


def reference(folder, trials):
    """What the trials give if nobody is killed."""
    from lightning_hparams.search import trial_record

    prepare(folder, log=str(folder) + ".log", trials=trials)
    wait([worker(folder, 0)])
    records = [trial_record(folder, number) for number in range(trials)]
    return [[record["params"], record["reports"], record["weights"]] for record in records]


def main(scenario, studies, folder, url=None):
    import torch

    from lightning_hparams.provenance import take

    torch.set_num_threads(1)
    take({})  # the list of packages, which each fork would read again
    gc.collect()
    gc.freeze()  # a collection in a fork would copy the memory of all that is imported
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    os.chdir(root)
    if scenario == "long step":
        prepare(root / "study", url, pause=60.0)
        return in_a_long_step(root / "study")
    started, wrong, interrupted = time.monotonic(), {}, 0
    trials = AT_HOLES if scenario in HOLES else TRIALS
    expected = reference(root / "reference", trials)
    longest = (time.monotonic() - started) * 0.6  # two workers take little more than half of it
    for seed in range(studies):
        one, log = root / str(seed), root / f"{seed}.log"
        prepare(one, url, str(log), trials=trials)
        log.touch()
        if scenario in HOLES:
            before, well = at_a_hole(one, seed, scenario)
        elif scenario in SIGNALS:
            before, well = at_a_signal(one, seed, scenario)
        else:
            before, well = at_random(one, seed, longest, tree=scenario == "tree")
        found = faults(one, before, log, expected, kills=0 if scenario in SIGNALS else 2)
        interrupted += sum(trial.user_attrs.get("kills", 0) for trial in trials_of(one))
        if found or not well:
            wrong[seed] = {**found, "ended well": well}
    return {"wrong": wrong, "interrupted": interrupted}


if __name__ == "__main__":
    import logging
    import warnings

    import optuna

    import lightning_hparams.search.worker  # noqa: F401
    from lightning_hparams.search import supervisor  # noqa: F401

    warnings.simplefilter("ignore")
    optuna.logging.disable_default_handler()
    logging.getLogger("lightning").setLevel(logging.ERROR)
    name, number, where, *rest = sys.argv[1:]
    print(json.dumps(main(name, int(number), where, *rest)))
