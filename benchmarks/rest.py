"""The rest of the way: reading CSV, augmentation, prediction, start-up, from test.csv to submission.csv, and the report.

    python benchmarks/rest.py            # a few minutes
    python benchmarks/rest.py --small    # the same on few digits

Each way of doing a thing is tried three times (once if small); the page shows the median. What is named first is this package's.
"""
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from results import command, environment, result_file, write_result

TIMES = 1 if '--small' in sys.argv else 3 # tries; a small run only shows that all works


def clock(do):
    "Wall seconds and CPU-seconds of calls, children included."
    rows = []
    for _ in range(TIMES):
        usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        cpu, began = sum(u.ru_utime+u.ru_stime for u in usage), time.perf_counter()
        do()
        seconds = time.perf_counter()-began
        usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        rows.append((round(seconds, 4), round(sum(u.ru_utime+u.ru_stime for u in usage)-cpu, 4)))
    return {'seconds': [r[0] for r in rows], 'cpu_seconds': [r[1] for r in rows]}


def reading(csvs, cache):
    "train.csv into arrays; the first time, its rows are kept as well."
    import pandas as pd
    from digit_recognizer.core.tables import read_csv
    path, n = csvs/'train.csv', sum(1 for _ in open(csvs/'train.csv', 'rb'))-1
    def first():
        shutil.rmtree(cache, ignore_errors=True)
        read_csv(path, True, cache)
    for way, do in (('digit_recognizer, first time', first),
                    ('digit_recognizer, second time', lambda: read_csv(path, True, cache)),
                    ('pandas.read_csv, as the original did', lambda: pd.read_csv(path)),
                    ('pandas.read_csv, dtype uint8', lambda: pd.read_csv(path, dtype='uint8'))):
        yield {'what': 'reading train.csv', 'way': way, 'amount': n, 'unit': 'digits', **clock(do)}


def augmentation(digits):
    "Turning, moving and stretching every digit once, in batches of 128; ours shears them as well."
    import keras
    import tensorflow as tf
    from tensorflow.keras.preprocessing.image import ImageDataGenerator
    from digit_recognizer.preprocess import train_batches
    x, y, batch = digits.x, digits.y, 128
    steps = len(x)//batch
    pixels = x[..., None].astype('float32')
    generator = ImageDataGenerator(rotation_range=10, zoom_range=.1, width_shift_range=.1, height_shift_range=.1)
    layers = keras.Sequential([keras.layers.RandomRotation(10/360), keras.layers.RandomTranslation(.1, .1),
                               keras.layers.RandomZoom(.1)])
    ours = iter(train_batches(x, y, batch, 2*TIMES))
    in_batches = pixels[:steps*batch].reshape(steps, batch, 28, 28, 1)
    theirs = iter(tf.data.Dataset.from_tensor_slices(in_batches).repeat()
                  .map(lambda xb: layers(xb, training=True), num_parallel_calls=tf.data.AUTOTUNE).prefetch(4))
    legacy = generator.flow(pixels, y, batch_size=batch)
    def draw(batches, n):
        for _ in range(n): next(batches)
    for way, batches, n in (('digit_recognizer', ours, steps), ('three Keras random layers', theirs, steps),
                            ("Keras' legacy ImageDataGenerator", legacy, max(steps//10, 1))):
        draw(batches, 5)
        yield {'what': 'augmentation', 'way': way, 'amount': n*batch, 'unit': 'images', **clock(lambda: draw(batches, n))}


def prediction(run, digits):
    "Probabilities of the held-out digits, in batches of 1,000."
    from digit_recognizer.runs.export import FORMATS, export_run
    from digit_recognizer.core.predict import predict
    for to in FORMATS: export_run(run, to)
    x = digits.x_test
    pixels = x[..., None].astype('float32')
    models = {'Keras, predict_on_batch': run.model,
              **{f'{to}': use(run.folder/name) for to, (name, _, use) in FORMATS.items()}}
    ways = {**{way: lambda m=model: predict(m, x) for way, model in models.items()},
            'Keras, predict': lambda: run.model.predict(pixels, batch_size=1000, verbose=0)}
    for way, do in ways.items():
        do()
        yield {'what': 'prediction', 'way': way, 'amount': len(x), 'unit': 'images', **clock(do)}


def start_up():
    "From nothing to an answer in the terminal."
    program = [sys.executable, '-m', 'digit_recognizer', '--help']
    for way, words in (('digit_recognizer --help', program),
                       ('import digit_recognizer.data', [sys.executable, '-c', 'import digit_recognizer.data']),
                       ('import tensorflow', [sys.executable, '-c', 'import tensorflow'])):
        yield {'what': 'start-up', 'way': way, 'amount': 1, 'unit': 'start',
               **clock(lambda: subprocess.run(words, check=True, capture_output=True))}


def end_to_end(run, csvs, tmp):
    "The whole command: test.csv in, submission.csv out."
    n = sum(1 for _ in open(csvs/'test.csv', 'rb'))-1
    def command():
        (tmp/'submission.csv').unlink(missing_ok=True)
        subprocess.run([sys.executable, '-m', 'digit_recognizer', 'predict',
                        str(run.folder), str(csvs/'test.csv'), '--out', str(tmp/'submission.csv')],
                       check=True, capture_output=True)
    for way in ('LiteRT', 'TensorFlow'):
        if way=='TensorFlow': (run.folder/'model.tflite').unlink()
        yield {'what': 'test.csv to submission.csv', 'way': f'digit_recognizer predict, {way}', 'amount': n,
               'unit': 'digits', **clock(command)}


def training(small):
    "The default recipe for three epochs, in a process of its own; with TensorFlow's deterministic operations too."
    code = ("from digit_recognizer.data import take_digits, load_digits; from digit_recognizer.preprocess import split; "
            "from digit_recognizer.train import fit; from digit_recognizer.core.recipe import make_recipe; digits = load_digits(); train, val = split(digits.y); "
            f"train = train[:{2000 if small else 33_600}]; fit(make_recipe('fast', {{'epochs': 3}}), digits.x[train], digits.y[train], "
            "digits.x[val], digits.y[val], progress=False)")
    for way, more in (('digit_recognizer', {}), ('digit_recognizer --deterministic', {'TF_DETERMINISTIC_OPS': '1'})):
        yield {'what': 'training, 3 epochs', 'way': way, 'amount': 3*(2000 if small else 33_600), 'unit': 'images',
               **clock(lambda: subprocess.run([sys.executable, '-c', code], check=True, env={**os.environ, **more}))}


PEAK = """
import pathlib, resource, sys
status = pathlib.Path('/proc/self/status') # on Linux, ru_maxrss begins with what the parent had
peak = ([int(line.split()[1])*1024 for line in status.read_text().splitlines() if line.startswith('VmHWM')][0] if status.exists()
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print(round(peak/1e6))
""" # a process's greatest memory in megabytes


def evaluation(run, digits, tmp):
    "The report of a run, with everything in it but predictions of validation digits, which the run holds."
    from digit_recognizer.analysis.report import write_report
    def report():
        (tmp/'report.html').unlink(missing_ok=True)
        write_report(run, digits, tmp/'report.html')
    yield {'what': 'evaluation', 'way': 'report.html', 'amount': len(run.validation['rows']), 'unit': 'digits', **clock(report)}


def searches(small):
    "Looking for copies of the labelled digits among those to predict, in a process of its own, whose memory is told."
    begin = 'from digit_recognizer.data import take_digits, load_digits; digits = load_digits()\n'
    if small: begin += 'digits = take_digits(digits, 3000)\n'
    end = '\n'+PEAK
    for way, code in (
        ('digit_recognizer', 'from digit_recognizer.core.copies import find_copies\nfind_copies(digits.x_test, digits.x)'),
        ('scikit-learn, brute force on all pixels', "from sklearn.neighbors import NearestNeighbors\nflat = [x.reshape(len(x), -1).astype('float32') "
         "for x in (digits.x, digits.x_test)]\nNearestNeighbors(n_neighbors=1, algorithm='brute').fit(flat[0]).kneighbors(flat[1])")):
        peaks = []
        def search():
            done = subprocess.run([sys.executable, '-c', begin+code+end], check=True, stdout=subprocess.PIPE, text=True)
            peaks.append(int(done.stdout.splitlines()[-1]))
        yield {'what': 'search for copies', 'way': way, 'amount': 3000 if small else 28_000, 'unit': 'digits', **clock(search), 'megabytes': peaks}


def memory(tmp, run, csvs, small):
    "Time and greatest memory of whole commands: two runs, and predictions of a CSV and of one that is five times as long."
    long = tmp/'long.csv'
    lines = (csvs/'test.csv').read_text().splitlines(keepends=True)
    long.write_text(''.join(lines[:1]+lines[1:]*5))
    n = len(lines)-1
    some = ['--data', csvs]*small
    for way, words in (('digit_recognizer run, fast for one epoch', ['run', '--set', 'epochs=1', '--no-report', *some]),
                       ('digit_recognizer run, tiny, with its report', ['run', '--recipe', 'tiny', *some]),
                       (f'digit_recognizer predict, {n:,} digits', ['predict', run.folder, csvs/'test.csv']),
                       (f'digit_recognizer predict, {5*n:,} digits', ['predict', run.folder, long])):
        code = 'import sys; from digit_recognizer.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit as e: assert not e.code\n'+PEAK
        peaks = []
        def do():
            out = Path(tempfile.mkdtemp(dir=tmp))/'out'
            done = subprocess.run([sys.executable, '-c', code, *map(str, words), '--out', str(out), '--quiet'], check=True, stdout=subprocess.PIPE, text=True)
            peaks.append(int(done.stdout.splitlines()[-1]))
        yield {'what': 'memory', 'way': way, 'amount': 1, 'unit': 'command', **clock(do), 'megabytes': peaks}


def main(
    small: Annotated[bool, typer.Option('--small', help='On 3,000 digits, to see that all works.')]=False,
    out: Annotated[Path, typer.Option(help='The result file.')]=None,
):
    here = environment()
    with tempfile.TemporaryDirectory() as tmp:
        tmp = Path(tmp)
        from digit_recognizer.data import export_csv, take_digits, load_digits
        from digit_recognizer.runs.pipeline import run_pipeline
        from digit_recognizer.core.recipe import make_recipe
        digits = take_digits(load_digits(), 3000) if small else load_digits()
        csvs = export_csv(digits, tmp/'kaggle')
        rows = [*reading(csvs, tmp/'cache'), *start_up()]
        run = run_pipeline(digits, make_recipe('fast', {'epochs': 1}), tmp/'run', progress=False)
        rows += [*augmentation(digits), *prediction(run, digits), *end_to_end(run, csvs, tmp), *training(small), *evaluation(run, digits, tmp),
                 *searches(small), *memory(tmp, run, csvs, small)]
    for row in rows: print(f"{row['what']:<28}{row['way']:<40}{sorted(row['seconds'])[TIMES//2]:>9.3f} s")
    write_result(result_file('rest', out, small), {'benchmark': 'rest', 'small': small, 'environment': here, 'results': rows})


if __name__=='__main__': command(main)
