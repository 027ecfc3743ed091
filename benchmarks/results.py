"""What every benchmark needs: where results stand, what machine this is, and how a result is written."""
import json
import os
import subprocess
import sys
from pathlib import Path

import typer

from digit_recognizer.core.files import InputError

HERE = Path(__file__).parent/'results'


def command(main):
    "Run a benchmark's `main` as a program; a user's mistake is told in one line."
    try: typer.run(main)
    except InputError as e: sys.exit(str(e))


def result_file(name, out, small):
    "Where a benchmark's result goes: a small one never beside the committed ones, unless told so."
    return out or (HERE/'small' if small else HERE)/f'{name}.json'


def begun(path, name, small, one_machine=True):
    "The result so far; refuses one of another size and, where times are compared, of another machine or other versions."
    fresh = {'benchmark': name, 'small': small, 'environment': environment(), 'results': []}
    if not path.exists(): return fresh
    result = json.loads(path.read_text(encoding='utf-8'))
    for key in ['small'] + ['environment']*one_machine:
        if result[key]!=fresh[key]: raise InputError(f"{path}: {key} is {result[key]}, now it is {fresh[key]}; "
                                                     "remove the file or give another --out")
    return result


def environment():
    "Machine and versions, asked in a process of its own so that TensorFlow starts with any settings that come later."
    code = 'import json; from digit_recognizer.core.backend import describe_environment; print(json.dumps(describe_environment()))'
    return json.loads(subprocess.run([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True,
                                     check=True).stdout)


def write_result(path, result):
    "Replace a result file, whole or not at all."
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix('.part')
    part.write_text(json.dumps(result, indent=1, ensure_ascii=False)+'\n', encoding='utf-8')
    os.replace(part, path)
