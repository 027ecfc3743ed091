"""What every benchmark needs: where results stand, what machine this is, and how a result is written."""
import json
import os
from pathlib import Path

HERE = Path(__file__).parent/'results'


def environment():
    "Machine and versions, asked in a process of its own so that TensorFlow starts with whatever settings come later."
    import subprocess, sys
    code = 'import json; from digit_recognizer.pipeline import environment; print(json.dumps(environment()))'
    return json.loads(subprocess.run([sys.executable, '-c', code], stdout=subprocess.PIPE, text=True,
                                     check=True).stdout)


def write_result(path, result):
    "Replace a result file, whole or not at all."
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix('.part')
    part.write_text(json.dumps(result, indent=1, ensure_ascii=False)+'\n', encoding='utf-8')
    os.replace(part, path)
