"""Does "at most so many wrong" hold where the digits are others? The fifteen corruptions of MNIST-C, and other writers.

    python benchmarks/shift.py --writers writers.npz            # two trainings and 480,000 predictions: a quarter of an hour
    python benchmarks/shift.py --writers writers.npz --small    # an epoch on few digits

`fast` learns 48,000 of MNIST's own 60,000 training digits. The threshold that promises a rate of errors is fitted on the
other 12,000, and tried on the 10,000 test digits as they are and in each corruption (`digit_recognizer.analysis.mnist_c`).
How near the corruptions made here are to MNIST-C's own files is tried by a network whose errors on these files are
published (`PUBLISHED`): it is trained anew on MNIST's 60,000 training digits, with centred pixels, and reads the digits
corrupted here. The published figures are of pixels that were not centred, so it reads both. The strengths of the
corruptions were set by such a network of 50,000 digits, on the next 3,000.
For writers, the threshold is fitted on the out-of-fold answers of `best` (nbs/results/out-of-fold) to the digits of some
writers, and tried on those of others: census staff, students, and random halves. The file of writers is QMNIST's, as for
benchmarks/writers.py.
"""
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from digit_recognizer import fit, load_digits, make_recipe, predict, split
from digit_recognizer.analysis.confidence import expected_calibration_error, threshold_for
from digit_recognizer.analysis.mnist_c import MNIST_C, corrupted_scores
from digit_recognizer.core.backend import silence_tensorflow
from digit_recognizer.core.groups import cluster_interval
from digit_recognizer.core.predict import apply_temperature
from digit_recognizer.core.testing import project_file
from digit_recognizer.evaluate import fit_temperature, score
from digit_recognizer.model import with_temperature
from results import begun, command, result_file, write_result
from writers import SERIES, read_writers

RATE, WRITERS_RATE = .001, .001 # errors among the answers
SOURCE = 'Sargolzaei and Rueda 2024, arXiv 2408.11309: main.ipynb of github.com/salehsargolzaee/Hopfield-integrated-test, commit 6861bf8'
PUBLISHED = { # right of 10,000 digits in MNIST-C's files: PyTorch's MNIST example, and the same with Hopfield pooling before it
    'none': (9904, 9887), 'shot noise': (9640, 9771), 'impulse noise': (7749, 9590), 'glass blur': (3966, 8979),
    'motion blur': (4740, 9082), 'shear': (9545, 9556), 'scale': (8910, 8842), 'rotate': (8989, 8895),
    'brightness': (8266, 9698), 'translate': (4742, 4436), 'stripe': (9540, 9540), 'fog': (1435, 9700),
    'spatter': (9778, 9796), 'dotted line': (9819, 9801), 'zigzag': (9040, 9226), 'canny edges': (7722, 7734)}
MEAN, SD = .1307, .3081 # of MNIST's pixels from 0 to 1


def corruptions(small):
    "What `fast` reads of corrupted digits, and what its promise is worth there."
    digits = load_digits('standard')
    n = 4000 if small else len(digits.y)
    recipe = make_recipe('fast', {'epochs': 1, 'batch': 64} if small else {})
    train, val = split(digits.y[:n], .2, recipe.seed)
    model = fit(recipe, digits.x[train], digits.y[train], None, None, progress=False).model
    with silence_tensorflow():
        proba = predict(model, digits.x[val])
        temperature = fit_temperature(digits.y[val], proba)
        found = threshold_for(digits.y[val], apply_temperature(proba, temperature), .1 if small else RATE)
        m = 300 if small else 10_000
        rows = corrupted_scores(with_temperature(model, temperature), digits.x_test[:m], digits.y_test[:m], found['threshold'])
    return {'recipe': recipe.record(), 'rate': RATE, 'threshold': found, 'rows': rows}


def published_network():
    "The layers of PyTorch's MNIST example, on pixels that are scaled already, and its optimizer."
    import keras
    from keras import layers
    keras.utils.set_random_seed(0)
    net = keras.Sequential([keras.Input((28, 28, 1)), layers.Conv2D(32, 3, activation='relu'), layers.Conv2D(64, 3, activation='relu'),
                            layers.MaxPooling2D(), layers.Dropout(.25), layers.Flatten(), layers.Dense(128, activation='relu'),
                            layers.Dropout(.5), layers.Dense(10, activation='softmax')])
    net.compile(keras.optimizers.Adadelta(1., rho=.9, epsilon=1e-6), 'sparse_categorical_crossentropy')
    return net


def from_bytes(net, scale, offset=0.):
    "The network with a first layer that scales pixels from 0 to 255."
    import keras
    return keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Rescaling(scale, offset), net])


def as_published(small):
    "The published network, trained anew on MNIST's 60,000 digits, on the corruptions made here."
    import keras
    digits, epochs = load_digits('standard'), 1 if small else 14
    n, m = (4000, 300) if small else (len(digits.y), 10_000)
    x, y = digits.x[:n, ..., None]/np.float32(255), digits.y[:n].astype(np.int32)
    slower = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate*(.7 if epoch else 1))
    with silence_tensorflow():
        net = published_network()
        net.fit((x-MEAN)/SD, y, batch_size=64, epochs=epochs, callbacks=[slower], verbose=0)
        tried = {'centred': from_bytes(net, 1/255/SD, -MEAN/SD), 'as published': from_bytes(net, 1/255)}
        return {how: [{'corruption': name, **score(digits.y_test[:m], predict(model, corrupt(digits.x_test[:m]), check=False)).to_dict()}
                      for name, corrupt in ({'none': lambda x: x} | MNIST_C).items()] for how, model in tried.items()}


def promise(name, y, proba, fitted_on, tried_on, writer):
    "A threshold from the digits of some writers, tried on those of others."
    found = threshold_for(y[fitted_on], proba[fitted_on], WRITERS_RATE)
    tried = np.flatnonzero(tried_on)
    sure = tried[proba[tried].max(1)>=found['threshold']]
    right = proba[sure].argmax(1)==y[sure]
    low, high = cluster_interval(right, writer[sure])
    return {'promise': name, 'rate': WRITERS_RATE, 'fitted_on': int(fitted_on.sum()), 'n': len(tried), 'answered': len(sure),
            'wrong': int((~right).sum()), 'error_rate_by_writer': [1-high, 1-low],
            'ece': expected_calibration_error(y[tried], proba[tried])}


def new_writers(path):
    "Promises from census staff for students, the other way round, and from one half of the writers for the other."
    writer, series = read_writers(path)
    with np.load(project_file('nbs/results/out-of-fold/validation.npz')) as v: y, proba = v['y'], v['proba'].astype(np.float32)
    proba /= proba.sum(1, keepdims=True)
    staff = np.array([SERIES.get(int(s))=='census staff' for s in series])
    rows = [promise('census staff, for students', y, proba, staff, ~staff, writer),
            promise('students, for census staff', y, proba, ~staff, staff, writer)]
    for seed in range(10):
        names = np.unique(writer)
        half = np.isin(writer, np.random.default_rng(seed).permutation(names)[:len(names)//2])
        rows.append(promise(f'half of the writers, for the others ({seed})', y, proba, half, ~half, writer))
    return rows


def main(
    writers: Annotated[Path, typer.Option(help="QMNIST's writers, as for benchmarks/writers.py.")],
    small: Annotated[bool, typer.Option('--small', help='One epoch on 4,000 digits, to see that all works.')]=False,
    out: Annotated[Path, typer.Option(help='The result file.')]=None,
):
    out = result_file('shift', out, small)
    result = begun(out, 'shift', small, one_machine=False)
    result['writers'] = new_writers(writers)
    result['published'] = {'source': SOURCE, 'n': 10_000, 'right': PUBLISHED}
    result['published_network'] = as_published(small)
    result['results'] = [corruptions(small)]
    write_result(out, result)
    print(*result['writers'], *result['results'][0]['rows'], sep='\n')


if __name__=='__main__': command(main)
