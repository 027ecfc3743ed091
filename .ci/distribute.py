"""Train one network by two workers on this machine, kill them, start them again, and compare with two that nobody disturbed.

    python .ci/distribute.py   # about two minutes

First the worker that only helps is killed in the middle, then, after both were started again, the chief. The other has
to end by itself each time, with one message that says what to do. Started a third time, both have to finish, and what
they leave must be equal, to the last bit, to the run of two undisturbed workers; and the weights that both hold must be
the same. Then the mistakes: a wrong TF_CONFIG, a worker that comes alone, and two that were started differently.
"""
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

HANG = 180  # seconds after which a worker is taken to hang; the slowest needs a tenth
RECIPES = {  # between them: batch normalisation and averaged weights; dropout, the plateau and the best epoch
    "residual": ("tiny", {"epochs": 4}),
    "classic": ("classic", {"width": 4, "epochs": 4, "batch": 64, "lr": 2e-3, "weights": "best"}),
}


def work(name, out, again, wait=60, seed=0):
    "What each worker does; a mistake ends it with exit code 1 and one line."
    from digit_recognizer.data import InputError, first_digits, load_digits
    from digit_recognizer.distribute import workers

    try:
        strategy = workers(float(wait))
        from digit_recognizer import pipeline
        from digit_recognizer.train import make_recipe

        base, changes = RECIPES[name]
        recipe, digits, plain_fit = make_recipe(base, {**changes, "seed": int(seed)}), first_digits(load_digits(), 3000), pipeline.fit

        def fit(*args):
            fitted = plain_fit(*args)
            print("weights", hashlib.sha256(b"".join(w.tobytes() for w in fitted.model.get_weights())).hexdigest(), flush=True)
            return fitted

        with patch.object(pipeline, "fit", fit):
            if again:
                pipeline.finish_run(Path(out), digits, recipe, False, strategy=strategy)
            else:
                pipeline.run_pipeline(digits, recipe, out, False, strategy=strategy)
    except InputError as e:
        sys.exit(f"{type(e).__name__}: {e}")


def start(addresses, index, *args):
    "A worker in a process of its own."
    config = json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})
    env = {**os.environ, "TF_CONFIG": config, "TF_NUM_INTRAOP_THREADS": "1"}
    return subprocess.Popen([sys.executable, __file__, "work", *map(str, args)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(process):
    "Exit code, what was printed, and the last line of what was complained of."
    try:
        printed, complained = process.communicate(timeout=HANG)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return "HANGS", "", ""
    return process.returncode, printed, (complained.strip().splitlines() or [""])[-1]


def free_addresses(n=2):
    "Addresses that nobody uses."
    doors = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    found = [f"127.0.0.1:{door.getsockname()[1]}" for door in doors]
    for door in doors:
        door.close()
    return found


def both(*args):
    "Start two workers, and wait for their ends."
    addresses = free_addresses()
    return [end(process) for process in [start(addresses, i, *args) for i in (1, 0)][::-1]]


def kill_one(victim, how, epochs, name, out, again):
    "End one of two workers by a signal after so many epochs; how the other ends."
    addresses = free_addresses()
    pair = [start(addresses, i, name, out, again) for i in (0, 1)]
    state, began = out / "training" / "state.json", time.monotonic()
    while not (state.exists() and len(json.loads(state.read_text())["rows"]) >= epochs):
        if any(process.poll() is not None for process in pair) or time.monotonic() - began > HANG:
            break
        time.sleep(0.02)
    pair[victim].send_signal(how)
    other = end(pair[1 - victim])
    assert end(pair[victim])[0] == -how, "it was over before it was killed"
    return other


results = []


def told(what, passed, more=""):
    results.append(passed)
    print(f"{what}: {'as it should be' if passed else 'WRONG'}{more}", flush=True)


def disturbed(name, tmp, kills):
    "Two undisturbed workers against two that are killed and started again."
    from kill import same

    from digit_recognizer.runs import load_run

    whole = both(name, tmp / f"{name}-whole", "")
    told(f"{name}, two workers", [code for code, _, _ in whole] == [0, 0], "".join(f"\n  {line}" for code, _, line in whole if code))
    told(f"{name}, the same weights in both", "weights" in whole[0][1] and whole[0][1] == whole[1][1])
    out = tmp / f"{name}-killed"
    for i, (victim, how) in enumerate(kills):
        code, _, line = kill_one(victim, how, 1 + i, name, out, i or "")
        told(f"{name}, worker {victim} gets {how.name}, the other ends", code == 1 and "LostWorker" in line and "start all workers again" in line, f"\n  {line}")
    ends = both(name, out, "again")
    told(f"{name}, started again", [code for code, _, _ in ends] == [0, 0], "".join(f"\n  {line}" for code, _, line in ends if code))
    told(f"{name}, as if undisturbed, to the last bit", same(load_run(out), load_run(tmp / f"{name}-whole")))
    shared = load_run(out).info["training"]
    told(f"{name}, run.json says who shared", (shared["strategy"], shared["workers"], shared["replicas"]) == ("workers", 2, 2))


def mistakes(tmp):
    "What a user may do wrong; nobody may hang, and nothing may be left."
    addresses, out = free_addresses(), tmp / "mistake"
    for me in (0, 1):
        code, _, line = end(start(addresses, me, "residual", out, "", 2))
        told(f"worker {me} alone", code == 1 and f"worker {1 - me} ({addresses[1 - me]}) did not" in line, f"\n  {line}")
    code, _, line = end(start(addresses, 2, "residual", out, "", 2))
    told("an index that is none", code == 1 and "TF_CONFIG has the index 2" in line, f"\n  {line}")
    pair = [start(addresses, i, "residual", out, "", 60, i) for i in (0, 1)]
    ends = [end(process) for process in pair]
    told("different recipes", all(code == 1 and "the workers differ in recipe" in line for code, _, line in ends), f"\n  {ends[1][2]}")
    told("no folder is left by mistakes", not out.exists())
    out.mkdir()
    ends = both("residual", out, "")
    told("a folder that exists", [code for code, _, _ in ends] == [1, 1] and "exists and is left as it is" in ends[0][2] and "worker 0 could not begin" in ends[1][2],
         f"\n  {ends[1][2]}")


def main():
    with tempfile.TemporaryDirectory() as tmp:
        disturbed("residual", Path(tmp), ((1, signal.SIGKILL), (0, signal.SIGKILL)))
        disturbed("classic", Path(tmp), ((1, signal.SIGTERM),))
        mistakes(Path(tmp))
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    sys.exit(not all(results))


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        work(*sys.argv[2:])
    else:
        main()
