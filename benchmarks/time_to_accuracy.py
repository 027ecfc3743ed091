"""Validation accuracy against time: the original notebook and public rivals, trained as their authors did,
beside this package's recipes; on the same digits, one after another on one machine.

    python benchmarks/time_to_accuracy.py            # hours; interrupted, it resumes
    python benchmarks/time_to_accuracy.py --small    # a minute: every contender for an epoch on few digits

The clock of every contender runs from the beginning of an epoch to its end, validation on 8,400 digits included;
what happens between epochs is not counted. `best` is scored without its views, as an epoch's validation is.
"""
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from digit_recognizer.core.files import InputError
from digit_recognizer.data import load_digits
from results import begun, command, result_file, write_result

CONTENDERS = {
    'original': {'seeds': 1, 'what': "the original notebook: its six 5×5 convolutions, Adam 1e-3, batch 32, 30 epochs, "
                 "Keras' ImageDataGenerator; its ReduceLROnPlateau watched a name that does not exist, so there is none"},
    'keras-io': {'seeds': 3, 'what': 'Simple MNIST convnet: two 3×3 convolutions, dropout, Adam, batch 128, 15 epochs, '
                 'no augmentation', 'source': 'https://keras.io/examples/vision/mnist_convnet/'},
    'fastai': {'seeds': 3, 'what': "lesson 7's residual net: stride-2 convolutions 8-16-32-16-10 with residual blocks, "
               'AdamW, one cycle to .05, batch 128, 12 epochs, random crops of the padded digit; the cycle of its '
               'momentum is left out', 'source': 'https://course19.fast.ai/videos/?lesson=7'},
    'cdeotte': {'seeds': 1, 'what': "one of the fifteen networks of Kaggle's best known notebook on these digits: seven "
                'convolutions, two of them 5×5 with stride 2, batch normalisation, dropout .4, Adam with a rate that falls '
                "by 5 % an epoch, batch 64, 45 epochs, Keras' ImageDataGenerator",
                'source': 'https://www.kaggle.com/code/cdeotte/25-million-images-0-99757-mnist'},
    'fast-6': {'seeds': 5, 'what': "this package's default recipe with 6 epochs"},
    'fast': {'seeds': 5, 'what': "this package's default recipe"},
    'best': {'seeds': 1, 'what': "this package's recipe for accuracy"}}


class Clock:
    "Rows of an epoch's errors and the time so far, kept on disk so that an interrupted training can resume."
    def __init__(self, file, n):
        self.file, self.n = file, n
        self.rows = json.loads(file.read_text()) if file.exists() else []

    def begin(self, epoch, logs=None):
        self.rows = self.rows[:epoch]
        self.began = time.perf_counter(), time.process_time()

    def end(self, epoch, logs):
        seconds, cpu = time.perf_counter()-self.began[0], time.process_time()-self.began[1]
        before = self.rows[-1] if self.rows else {'seconds': 0, 'cpu_seconds': 0}
        self.rows.append({'epoch': epoch+1, 'errors': round((1-logs['val_accuracy'])*self.n),
                          'seconds': round(before['seconds']+seconds, 2),
                          'cpu_seconds': round(before['cpu_seconds']+cpu, 2)})
        write_result(self.file, self.rows)
        print(self.rows[-1], file=sys.stderr, flush=True)

    def callback(self):
        import keras
        return keras.callbacks.LambdaCallback(on_epoch_begin=self.begin, on_epoch_end=self.end)


def original_net():
    from keras import Input, Sequential, layers
    stages = [layer for filters in (32, 64, 64) for layer in (
        layers.Conv2D(filters, 5, padding='same', activation='relu'),
        layers.Conv2D(filters, 5, padding='same', activation='relu'), layers.MaxPooling2D(2), layers.Dropout(.25))]
    return Sequential([Input((28, 28, 1))] + stages + [
        layers.Flatten(), layers.Dense(256, activation='relu'), layers.Dropout(.5),
        layers.Dense(10, activation='softmax')])


def keras_io_net():
    from keras import Input, Sequential, layers
    return Sequential([
        Input((28, 28, 1)), layers.Conv2D(32, 3, activation='relu'), layers.MaxPooling2D(2),
        layers.Conv2D(64, 3, activation='relu'), layers.MaxPooling2D(2), layers.Flatten(), layers.Dropout(.5),
        layers.Dense(10, activation='softmax')])


def fastai_net():
    import keras
    from keras import layers
    def conv(x, filters, strides=1):
        x = layers.Conv2D(filters, 3, strides=strides, padding='same', use_bias=False, activation='relu',
                          kernel_initializer='he_normal')(x)
        return layers.BatchNormalization(momentum=.9, epsilon=1e-5)(x)
    x = inputs = keras.Input((28, 28, 1))
    for filters in (8, 16, 32, 16):
        x = conv(x, filters, strides=2)
        x = layers.Add()([x, conv(conv(x, filters), filters)])
    return keras.Model(inputs, layers.Softmax()(layers.Flatten()(conv(x, 10, strides=2))))


def cdeotte_net():
    from keras import Input, Sequential, layers
    def conv(filters, size, **options):
        return [layers.Conv2D(filters, size, activation='relu', **options), layers.BatchNormalization()]
    def stage(filters):
        return [*conv(filters, 3), *conv(filters, 3), *conv(filters, 5, strides=2, padding='same'), layers.Dropout(.4)]
    return Sequential([Input((28, 28, 1)), *stage(32), *stage(64), *conv(128, 4), layers.Flatten(), layers.Dropout(.4),
                       layers.Dense(10, activation='softmax')])


def one_cycle(top, steps):
    "fastai's schedule: cosine from top/25 up to top in 30 % of the steps, cosine down to almost nothing."
    import keras
    class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            step, rise = keras.ops.cast(step, 'float32'), .3*steps
            def cosine(a, b, share): return b + (a-b)*(1+keras.ops.cos(np.pi*share))/2
            return keras.ops.where(step<rise, cosine(top/25, top, step/rise),
                                   cosine(top, top/25e4, (step-rise)/(steps-rise)))
    return OneCycle()


def crops(x, y, batch, seed):
    "fastai's rand_pad(3, 28): three pixels of background on every side, then a random 28 × 28 of it."
    import tensorflow as tf
    def crop(image, label): return tf.image.random_crop(image, (28, 28, 1)), label
    padded = np.pad(x, ((0, 0), (3, 3), (3, 3), (0, 0)), constant_values=x.min())
    return (tf.data.Dataset.from_tensor_slices((padded, y)).shuffle(len(x), seed=seed)
            .map(crop, num_parallel_calls=tf.data.AUTOTUNE).batch(batch, drop_remainder=True)
            .prefetch(tf.data.AUTOTUNE))


def train_rival(name, seed, parts, epochs, clock):
    "As its author trained it, with TensorFlow's default settings: nothing of this package is used."
    import keras
    x, y, x_val, y_val = parts
    x, x_val = (a[..., None].astype('float32')/255 for a in (x, x_val))
    if name=='fastai': x, x_val = ((a-.1307)/.3081 for a in (x, x_val))
    y, y_val = (np.eye(10, dtype='float32')[labels] for labels in (y, y_val))
    keras.utils.set_random_seed(seed)
    resume = keras.callbacks.BackupAndRestore(clock.file.with_suffix(''))
    more = {'validation_data': (x_val, y_val), 'verbose': 0, 'callbacks': [clock.callback(), resume]}
    if name=='keras-io':
        model = keras_io_net()
        model.compile('adam', 'categorical_crossentropy', metrics=['accuracy'])
        model.fit(x, y, batch_size=128, epochs=epochs or 15, **more)
    elif name in ('original', 'cdeotte'):
        from tensorflow.keras.preprocessing.image import ImageDataGenerator
        model, batch, epochs = ((original_net(), 32, epochs or 30) if name=='original' else
                                (cdeotte_net(), 64, epochs or 45))
        if name=='cdeotte':
            more['callbacks'].append(keras.callbacks.LearningRateScheduler(lambda epoch: 1e-3*.95**epoch))
        model.compile('adam', 'categorical_crossentropy', metrics=['accuracy'])
        images = ImageDataGenerator(rotation_range=10, zoom_range=.1, width_shift_range=.1, height_shift_range=.1)
        model.fit(images.flow(x, y, batch_size=batch), epochs=epochs, steps_per_epoch=len(x)//batch, **more)
    else:
        model, data, epochs = fastai_net(), crops(x, y, 128, seed), epochs or 12
        model.compile(keras.optimizers.AdamW(one_cycle(.05, epochs*len(data)), weight_decay=.01, beta_2=.99),
                      'categorical_crossentropy', metrics=['accuracy'])
        model.fit(data, epochs=epochs, validation_batch_size=256, **more)
    return {'parameters': model.count_params()}


def our_recipe(name, seed, small):
    "The present recipe of that name; None for a rival."
    from digit_recognizer.core.recipe import make_recipe
    changes = {'fast-6': {'epochs': 6}, 'fast': {}, 'best': {}}
    if name not in changes: return None
    return make_recipe(name.removesuffix('-6'), {'seed': seed, **changes[name], **({'epochs': 1} if small else {})})


def train_ours(recipe, parts, clock):
    "By this package's own `fit`."
    from digit_recognizer.core.speed import dtype_policy
    from digit_recognizer.train import fit
    fitted = fit(recipe, *parts, progress=False)
    clock.rows = [{'epoch': int(row.epoch), 'errors': round((1-row.val_accuracy)*clock.n),
                   'seconds': round(row.seconds, 2), 'cpu_seconds': round(row.cpu_seconds, 2)}
                  for row in fitted.curve.assign(seconds=fitted.curve.seconds.cumsum(),
                                                 cpu_seconds=fitted.curve.cpu_seconds.cumsum()).itertuples()]
    return {'parameters': fitted.model.count_params(), 'precision': dtype_policy(recipe.precision),
            'recipe': asdict(recipe)}


def train_one(name, seed, small, work):
    "Train one contender in this process; print what came of it as JSON."
    from sklearn.model_selection import train_test_split
    digits = load_digits()
    x, x_val, y, y_val = train_test_split(digits.x, digits.y, test_size=.2, random_state=seed, stratify=digits.y)
    if small: x, y, x_val, y_val = x[:2000], y[:2000], x_val[:500], y_val[:500]
    clock = Clock(work/f'{name}-{seed}.json', len(x_val))
    recipe, parts = our_recipe(name, seed, small), (x, y, x_val, y_val)
    facts = train_ours(recipe, parts, clock) if recipe else train_rival(name, seed, parts, int(small), clock)
    print(json.dumps({'contender': name, 'seed': seed, 'train': len(x), 'n': len(x_val), **facts,
                      'TF_ENABLE_ONEDNN_OPTS': os.environ.get('TF_ENABLE_ONEDNN_OPTS', ''), 'epochs': clock.rows}))


def main(
    small: Annotated[bool, typer.Option('--small', help='An epoch on 2,000 digits each, to see that all works.')]=False,
    only: Annotated[str, typer.Option(help='Contenders, separated by commas; by default all.')]=','.join(CONTENDERS),
    out: Annotated[Path, typer.Option(help='The result file; what it already holds is not trained again.')]=None,
    beside: Annotated[bool, typer.Option('--beside', help='Other work runs beside: keep CPU-seconds alone.')]=False,
    work: Annotated[Path, typer.Option(help='Where the states of interrupted trainings are kept; by default beside the result file.')]=None,
    one: Annotated[str, typer.Option(hidden=True)]='',
):
    if one:
        name, seed = one.split(':')
        return train_one(name, int(seed), small, work)
    unknown = set(only.split(','))-set(CONTENDERS)
    if unknown: raise InputError(f"--only: unknown {', '.join(sorted(unknown))}; expected some of {', '.join(CONTENDERS)}")
    out = result_file('time_to_accuracy', out, small)
    work = work or out.with_suffix('.work')
    work.mkdir(parents=True, exist_ok=True)
    result = begun(out, 'time_to_accuracy', small)
    result['contenders'] = CONTENDERS
    for name in only.split(','):
        for seed in range(1 if small else CONTENDERS[name]['seeds']):
            old = [run for run in result['results'] if (run['contender'], run['seed'])==(name, seed)]
            recipe = our_recipe(name, seed, small)
            if old and old[0].get('recipe')==(recipe and asdict(recipe)): continue
            done = subprocess.run([sys.executable, __file__, '--one', f'{name}:{seed}', '--work', str(work)]
                                  + ['--small']*small, stdout=subprocess.PIPE, text=True, check=True)
            result['results'] = [run for run in result['results'] if run not in old]
            run = json.loads(done.stdout.splitlines()[-1])
            if beside: run['epochs'] = [{key: e[key] for key in e if key!='seconds'} for e in run['epochs']]
            result['results'].append(run)
            write_result(out, result)
            (work/f'{name}-{seed}.json').unlink(missing_ok=True)
            print(name, seed, run['epochs'][-1], flush=True)


if __name__=='__main__': command(main)
