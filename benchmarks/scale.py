"""Past one machine: digits scored and networks trained by Dask's workers, against the same commands without Dask.

    python benchmarks/scale.py            # an hour: a million digits, three times each way
    python benchmarks/scale.py --small    # the same on a few thousand

What is measured are whole commands, their start included. Every way must give the same bytes as the first. The memory
is the greatest of any one process of the command, looked at five times a second.
"""
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import typer

from results import command, environment, result_file, write_result

PROGRAM = [sys.executable, '-m', 'digit_recognizer']


def watched(words, peaks):
    "Run a command; note the greatest memory of the process itself and of any other that it started, in megabytes."
    process = subprocess.Popen([*PROGRAM, *map(str, words)], stdout=subprocess.DEVNULL)
    own, theirs = 0, 0
    while process.returncode is None:
        try:
            own = max(own, psutil.Process(process.pid).memory_info().rss)
            theirs = max([theirs]+[child.memory_info().rss for child in psutil.Process(process.pid).children(recursive=True)])
        except psutil.Error: pass # it has ended by now
        with suppress(subprocess.TimeoutExpired): process.wait(.2)
    assert process.returncode==0, words
    peaks.append([round(own/1e6), round(theirs/1e6)])


def cost(words, results, times):
    "Wall seconds, CPU-seconds (of all its processes) and memory of a command; what it wrote must be what the others wrote."
    rows, peaks = [], []
    for _ in range(times):
        for path in results: shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        before, began = os.times(), time.perf_counter()
        watched(words, peaks)
        seconds, after = time.perf_counter()-began, os.times()
        rows.append((round(seconds, 2), round(after.children_user+after.children_system-before.children_user-before.children_system, 2)))
    return {'seconds': [r[0] for r in rows], 'cpu_seconds': [r[1] for r in rows],
            'megabytes': [p[0] for p in peaks], 'megabytes_of_a_worker': [p[1] for p in peaks]}


def sha(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def many_digits(tmp, digits, copies):
    "Folders with the digits to predict, as CSV and as Parquet, one file a copy; and one small file."
    import pandas as pd
    from digit_recognizer.core.tables import PIXELS
    from digit_recognizer.data import export_csv, take_digits
    csv = export_csv(digits, tmp/'kaggle')/'test.csv'
    table = pd.DataFrame(digits.x_test.reshape(-1, 784), columns=PIXELS)
    for kind in ('csv', 'parquet'):
        (tmp/kind).mkdir()
        for i in range(copies): shutil.copy(csv, tmp/kind/f'{i}.csv') if kind=='csv' else table.to_parquet(tmp/kind/f'{i}.parquet', index=False, row_group_size=14_000)
    few = export_csv(take_digits(digits, 1000), tmp/'few')/'test.csv'
    return {'CSV': (tmp/'csv', copies*len(digits.x_test)), 'Parquet': (tmp/'parquet', copies*len(digits.x_test)), 'a small file': (few, 1000)}


def scoring(tmp, digits, copies, times):
    from digit_recognizer.runs.export import export_run
    from digit_recognizer.runs.folder import load_run, pretrained_run
    run = shutil.copytree(pretrained_run().folder, tmp/'run')
    export_run(load_run(run))
    out = tmp/'labels.csv'
    for kind, (source, n) in many_digits(tmp, digits, copies).items():
        size = sum(path.stat().st_size for path in ([source] if source.is_file() else source.iterdir()))
        seen = set()
        for way, more in (('without Dask', []), ('1 worker', ['--workers', 1]), ('2 workers', ['--workers', 2])):
            row = cost(['predict', run, source, '--out', out, '--quiet', *more], [out], times)
            seen.add(sha(out))
            assert len(seen)==1, f'{kind}, {way}: other bytes'
            yield {'what': f'scoring, {kind}', 'way': way, 'amount': n, 'unit': 'digits', 'bytes': size, **row}


def training(tmp, small, times):
    "Two members of the default recipe, an epoch each; with the same threads a member must be the same, to the last bit."
    from digit_recognizer.runs.folder import load_run
    seen = {}
    data = ['--data', tmp/'kaggle', '--set', 'batch=64'] if small else []
    for way, threads, more in (('without Dask, 2 threads', 2, []), ('without Dask, 1 thread', 1, []),
                               ('1 worker, 2 threads', 2, ['--workers', 1]), ('2 workers, 1 thread each', 1, ['--workers', 2])):
        out = tmp/'members'
        row = cost(['run', '--members', 2, '--set', 'epochs=1', '--threads', threads, '--out', out, '--no-report', '--quiet', *data, *more], [out], times)
        expected = seen.setdefault(threads, load_run(out).test)
        assert np.array_equal(load_run(out).test, expected), f'{way}: other weights'
        yield {'what': 'two members', 'way': way, 'amount': 2, 'unit': 'networks', **row}


def loading(tmp, times):
    "What a worker needs before its first digit: the package and the model."
    code = ("import sys, time; began = time.perf_counter(); from digit_recognizer.scale.scoring import ModelFile, load_cached_model; from pathlib import Path; "
            "path = Path(sys.argv[1]); load_cached_model(ModelFile(path.name, path.read_bytes())); print(time.perf_counter()-began)")
    for name in ('model.tflite', 'model.keras'):
        seconds = [float(subprocess.run([sys.executable, '-c', code, str(tmp/'run'/name)], check=True, capture_output=True, text=True).stdout.splitlines()[-1])
                   for _ in range(times)]
        yield {'what': 'loading', 'way': name, 'amount': 1, 'unit': 'model', 'bytes': (tmp/'run'/name).stat().st_size, 'seconds': [round(s, 3) for s in seconds]}


def writing(tmp, n, times):
    "What one process does at the end for all: answers from the disk, in order, into one file."
    from digit_recognizer.core.predict import TOP
    from digit_recognizer.scale.scoring import Chunk, Predictions, _save, write_predictions
    folder = tmp/'answers'
    folder.mkdir()
    parts = [Chunk(i, Path(f'{i}.csv'), None, 0, 0) for i in range(max(n//28_000, 1))]
    for part in parts: _save(folder/part.name, np.zeros(n//len(parts), TOP))
    for kind in ('csv', 'parquet'):
        seconds = []
        for _ in range(times):
            (tmp/f'answers.{kind}').unlink(missing_ok=True)
            began = time.perf_counter()
            write_predictions(Predictions(folder, parts), tmp/f'answers.{kind}')
            seconds.append(round(time.perf_counter()-began, 3))
        yield {'what': 'writing', 'way': kind, 'amount': n//len(parts)*len(parts), 'unit': 'digits', 'bytes': (tmp/f'answers.{kind}').stat().st_size, 'seconds': seconds}


def main(
    small: Annotated[bool, typer.Option('--small', help='On a few thousand digits, to see that all works.')]=False,
    out: Annotated[Path, typer.Option(help='The result file.')]=None,
):
    here = environment()
    with tempfile.TemporaryDirectory() as tmp:
        from digit_recognizer.data import take_digits, load_digits
        digits = take_digits(load_digits(), 1500) if small else load_digits()
        times = 1 if small else 3
        rows = [*scoring(Path(tmp), digits, 2 if small else 36, times), *loading(Path(tmp), times), *writing(Path(tmp), 3000 if small else 1_008_000, times), *training(Path(tmp), small, times)]
    for row in rows: print(f"{row['what']:<28}{row['way']:<28}{sorted(row['seconds'])[times//2]:>9.2f} s")
    write_result(result_file('scale', out, small), {'benchmark': 'scale', 'small': small, 'environment': here, 'results': rows})


if __name__=='__main__': command(main)
