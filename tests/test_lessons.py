"""The lessons: solutions are accepted, wrong answers get a fitting hint, open tasks say so, and nothing needs the internet."""
import ast
import copy
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from test_structure import cells, source

from digit_recognizer.lessons.checks import TASKS, check

ROOT = Path(__file__).resolve().parent.parent
LESSONS = {"1_picture": 5, "2_learning": 5, "3_trust": 6}  # page -> number of tasks
CHECKED = re.compile(r"check\('(\w+)', (\w+)\)")
UNNEEDED = ["tensorflow", "keras", "sklearn", "cufflinks", "jinja2", "nbdev", "fastcore", "execnb", "pytest"]
RUNNER = """import json, socket, sys
from importlib.abc import MetaPathFinder
from digit_recognizer.lessons import checks

class Blocked(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {blocked}: raise ModuleNotFoundError(f'{{name}} is not installed here', name=name)

def offline(*args, **kwargs): raise OSError('the network is off')

sys.meta_path.insert(0, Blocked())
socket.socket.connect = socket.getaddrinfo = socket.create_connection = offline
said, judge = [], checks.check

def check(task, answer):
    feedback = judge(task, answer)
    said.append([task, feedback.right, feedback.text])
    return feedback

checks.check, space = check, {{'__name__': '__main__'}}
for i, cell in enumerate(json.load(sys.stdin)): exec(compile(cell, f'<cell {{i}}>', 'exec'), space)
print('\\n' + json.dumps(said))
"""


def codes(page):
    "The code cells of a page of the lessons."
    return [source(c) for c in cells(ROOT / "nbs/lessons" / f"{page}.ipynb") if c["cell_type"] == "code"]


def answers(page):
    "Where the answer to each task stands: task -> number of the code cell above its check."
    return {m[1]: i - 1 for i, code in enumerate(codes(page)) for m in [CHECKED.search(code)] if m}


def solutions():
    "The solutions of the page for teachers: task -> code."
    page = codes("teacher")
    return {task: page[i] for task, i in answers("teacher").items()}


def answered(task, code):
    "What code defines under the name of a task."
    space = {"np": np}
    exec("def distance(a, b): return ((a.astype(float) - b.astype(float))**2).mean()\n" + code if task == "guess" else code, space)
    return space[task]


def feedback_of(page):
    "Run the cells of a page without network and without what the lessons do not need: [task, right, text] of each check."
    told = subprocess.run([sys.executable, "-c", RUNNER.format(blocked=UNNEEDED)], input=json.dumps(page), cwd="/", capture_output=True, text=True,
                          env={**os.environ, "OPENBLAS_NUM_THREADS": "1"})  # small products: more threads only wait for each other
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout.splitlines()[-1])


def test_each_task_stands_in_one_lesson_and_has_a_solution():
    assert {page: len(answers(page)) for page in LESSONS} == LESSONS
    assert sorted(task for page in LESSONS for task in answers(page)) == sorted(TASKS) == sorted(solutions())


@pytest.mark.parametrize("page", LESSONS)
def test_open_tasks_say_so(page):
    assert [(task, right) for task, right, _ in feedback_of(codes(page))] == [(task, None) for task in answers(page)]


@pytest.mark.parametrize("page", LESSONS)
def test_a_lesson_runs_through_with_the_solutions(page):
    solved, known = codes(page), solutions()
    for task, i in answers(page).items():
        assert "..." in solved[i] and len(solved[i]) < 80, solved[i]
        solved[i] = known[task]
    assert [(task, right) for task, right, _ in feedback_of(solved)] == [(task, True) for task in answers(page)]


def test_an_error_in_a_cell_is_found():
    with pytest.raises(AssertionError, match="the network is off"):
        feedback_of(["import socket", "socket.create_connection(('localhost', 1))"])
    with pytest.raises(AssertionError, match="keras is not installed here"):
        feedback_of(["import keras"])


@pytest.mark.parametrize("page", LESSONS)
def test_the_minutes_add_up_to_a_lesson(page):
    text = "\n".join(source(c) for c in cells(ROOT / "nbs/lessons" / f"{page}.ipynb") if c["cell_type"] == "markdown")
    assert sum(int(m) for m in re.findall(r"^## .*\((\d+) minutes\)$", text, re.M)) == 45


@pytest.mark.parametrize("page", LESSONS)
def test_a_lesson_does_not_show_its_solutions(page):
    text = "\n".join(source(c) for c in cells(ROOT / "nbs/lessons" / f"{page}.ipynb"))
    bodies = [code.splitlines()[-1].strip() for code in solutions().values()]
    assert not [body for body in bodies if body in text]


@pytest.mark.parametrize("page", [*LESSONS, "teacher", "checks"])
def test_pages_are_small(page):
    assert (ROOT / "nbs/lessons" / f"{page}.ipynb").stat().st_size < 200_000


WRONG = [  # task, what a pupil writes, words of the hint
    ("pixel", "pixel = 238", "not a function"),
    ("pixel", "def pixel(image, row, column): return image[column, row]", "swapped"),
    ("pixel", "def pixel(image, row, column): return image[13, 9]", "right for the 7 of this page, but"),
    ("pixel", "def pixel(image, row, column): return 238", "same result for every input"),
    ("pixel", "def pixel(image, row): return image[row]", "3 arguments"),
    ("pixel", "def pixel(image, row, column): return image[row]", "whole row"),
    ("pixel", "def pixel(image, row, column):\n    return image[row][28+column]", "line 2 of its cell with IndexError"),
    ("pixel", "def pixel(image, row, column): return str(image[row, column])", "text"),
    ("pixel", "def pixel(image, row, column): image[row, column]", "return"),
    ("mean_ink", "def mean_ink(image): return image.sum()", "sum of all numbers"),
    ("mean_ink", "def mean_ink(image): return image.sum() / 784", "784"),
    ("mean_ink", "def mean_ink(image): return int(image.mean())", "too small"),
    ("mean_ink", "def mean_ink(image): return round(image.mean(), 1)", "rounded"),
    ("mean_ink", "def mean_ink(image): print(image.mean())", "prints"),
    ("mean_ink", "def mean_ink(image): return image.mean", "brackets"),
    ("mean_ink", "def mean_ink(image):\n    total = 0\n    for row in image:\n        for p in row: total += p\n    return total / image.size", "uint8"),
    ("mean_ink", "def mean_ink(image): return image[image > 0].mean()", "with ink"),
    ("mean_ink", "def mean_ink(image):\n    for row in image: return row.mean()", "inside a loop"),
    ("mean_ink", "def mean_ink(image): return imgae.mean()", "NameError.*spelt"),
    ("mean_ink", "def mean_ink(image): return mean_ink(image)", "calls itself"),
    ("mean_ink", "def mean_ink(image): return 0 / 0", "ZeroDivisionError"),
    ("mean_ink", "def mean_ink(image): return np.float64('nan')", "same result"),
    ("mean_ink", "def mean_ink(image): return image.sum() / (image > 0).sum()", "with ink"),
    ("mirror", "def mirror(image): return image[::-1]", "upside down"),
    ("mirror", "def mirror(image): return image[::-1, ::-1]", "half round"),
    ("mirror", "def mirror(image): return image.T", "diagonal"),
    ("mirror", "def mirror(image):\n    image[:] = image[:, ::-1]\n    return image", "changes its argument `image`"),
    ("mirror", "def mirror(image): return image[:, 27::-1]", "For a picture of 20 rows"),
    ("mirror", "def mirror(image): return [row for row in image]", "unchanged"),
    ("add_ink", "def add_ink(image, amount): return image + amount", "200 \\+ 100 gives 44"),
    ("add_ink", "def add_ink(image, amount): return np.minimum(image + amount, 255)", "200 \\+ 100 gives 44"),
    ("add_ink", "def add_ink(image, amount): return image.astype(int) + amount", "above 255"),
    ("add_ink", "def add_ink(image, amount): return np.minimum(image.astype(int) + 100, 255)", "right for the 7"),
    ("add_ink", "def add_ink(image, amount):\n    image += amount\n    return image", "changes its argument"),
    ("guess", "def guess(image, templates): return 7", "same result"),
    ("guess", "def guess(image, templates): return min(distance(image, t) for t in templates)", "which template"),
    ("guess", "def guess(image, templates): return np.argmax([distance(image, t) for t in templates])", "fits worst"),
    ("guess", "def guess(image, templates): return np.argmin([distance(image, templates[d]) for d in range(10)])", "For only four templates: It stops .*IndexError"),
    ("guess", "def guess(image, templates): return [np.argmin([distance(image, t) for t in templates])]", "expected one number"),
    ("scores", "def scores(pixels, weights, bias): return pixels @ weights", "bias is missing"),
    ("scores", "def scores(pixels, weights, bias): return weights @ pixels + bias", "ValueError.*shapes"),
    ("scores", "def scores(pixels, weights, bias): return [2.5, .5]", "right for the example .*expected an array of shape \\(10,\\)"),
    ("scores", "def scores(pixels, weights, bias): return (pixels @ weights + bias).sum()", "expected an array"),
    ("softmax", "def softmax(scores): return scores / scores.sum()", "`np.exp` is missing"),
    ("softmax", "def softmax(scores): return np.exp(scores)", "sum to 1"),
    ("softmax", "def softmax(scores): return np.exp(scores) / np.exp(scores).max()", "largest"),
    ("loss", "def loss(proba, label): return np.log(proba[label])", "sign"),
    ("loss", "def loss(proba, label): return -np.log10(proba[label])", "base 10"),
    ("loss", "def loss(proba, label): return -np.log(max(proba))", "label"),
    ("loss", "def loss(proba, label): return -np.log(proba[1])", "right for the example"),
    ("step", "def step(weights, gradient, rate): return weights + rate * gradient", "uphill"),
    ("step", "def step(weights, gradient, rate):\n    weights -= rate * gradient\n    return weights", "changes its argument `weights`"),
    ("step", "def step(weights, gradient, rate): return weights - .1 * gradient", "right for the example"),
    ("best_step", "def best_step(losses): return min(losses)", "at which step"),
    ("best_step", "def best_step(losses): return losses.index(min(losses)) + 1", "counts from 1"),
    ("best_step", "def best_step(losses):\n    losses.sort()\n    return 0", "changes its argument `losses`"),
    ("best_step", "def best_step(losses):\n    i = 0\n    while losses[i+1] < losses[i]: i += 1\n    return i", "For a curve that still falls: It stops .*IndexError"),
    ("accuracy", "def accuracy(guesses, labels): return (guesses == labels).sum()", "how many"),
    ("accuracy", "def accuracy(guesses, labels): return guesses == labels", "each digit"),
    ("accuracy", "def accuracy(guesses, labels): return 100 * (guesses == labels).mean()", "percentage"),
    ("accuracy", "def accuracy(guesses, labels): return (guesses == labels).sum() / 5", "right for the example"),
    ("accuracy", "def accuracy(guesses, labels): return guesses is labels", "True or False"),
    ("margin", "def margin(p, n): return 2 * np.sqrt(p * 1 - p / n)", "brackets"),
    ("margin", "def margin(p, n): return np.sqrt(p * (1 - p) / n)", "factor 2 is missing"),
    ("margin", "def margin(p, n): return 2 * np.sqrt(p * (1 - p)) / n", "outside the root"),
    ("margin", "def margin(p, n): return f'{2 * np.sqrt(p * (1 - p) / n):.1%}'", "text"),
    ("only_one", "def only_one(a, b, labels): return (a == labels).sum(), (b == labels).sum()", "both read"),
    ("only_one", "def only_one(a, b, labels): return ((b == labels) & (a != labels)).sum(), ((a == labels) & (b != labels)).sum()", "swapped"),
    ("only_one", "def only_one(a, b, labels): return ((a == labels) & (b != labels)).sum()", "expected an array of shape \\(2,\\)"),
    ("lucky_winner", "def lucky_winner(k): return .05 * k", "not added"),
    ("lucky_winner", "def lucky_winner(k): return .95**k", "opposite"),
    ("lucky_winner", "def lucky_winner(k): return 1 - .95**20", "same result"),
    ("top_accuracy", "top_accuracy = 1", "Where the label is wrong"),
    ("top_accuracy", "top_accuracy = 98.5", "percentage"),
    ("top_accuracy", "top_accuracy = '0.985'", "text"),
    ("top_accuracy", "top_accuracy = None", "None"),
    ("top_accuracy", "top_accuracy = .5", "too small"),
    ("top_accuracy", "def top_accuracy(): return .985", "function"),
    ("real_share", "def real_share(share, hit, false_alarm): return hit", "How many of the alarms"),
    ("real_share", "def real_share(share, hit, false_alarm): return share*hit / (share*hit + false_alarm)", "1 − share"),
    ("real_share", "def real_share(share, hit, false_alarm): return 90 / 585", "same result"),
    ("real_share", "def real_share(share, hit, false_alarm): raise SystemExit", "SystemExit"),
]


@pytest.mark.parametrize("task, code, words", WRONG)
def test_wrong_answers_get_a_fitting_hint(task, code, words):
    feedback = check(task, answered(task, code))
    assert feedback.right is False and re.search(words, feedback.text), feedback
    assert not [line for line in solutions()[task].splitlines()[1:] if line.strip() in feedback.text]


OPEN = [("pixel", "def pixel(image, row, column): return ..."), ("pixel", "pixel = ..."), ("mean_ink", "def mean_ink(image): return image.sum() / ..."),
        ("only_one", "def only_one(a, b, labels): return ..., ..."), ("only_one", "def only_one(a, b, labels): return (a == labels).sum(), ..."),
        ("softmax", "def softmax(scores): return np.exp(scores) / ..."), ("top_accuracy", "top_accuracy = ..."),
        ("step", "def step(weights, gradient, rate): return weights - ...")]


@pytest.mark.parametrize("task, code", OPEN)
def test_half_an_answer_is_not_answered_yet(task, code):
    feedback = check(task, answered(task, code))
    assert feedback.right is None and "not answered yet" in str(feedback), feedback


RIGHT = [("mean_ink", "mean_ink = np.mean"), ("mean_ink", "mean_ink = lambda picture: float(picture.mean())"), ("mirror", "mirror = np.fliplr"),
         ("mirror", "def mirror(image): return [list(reversed(list(row))) for row in image]"),
         ("add_ink", "def add_ink(image, amount): return np.clip(image.astype(float) + amount, 0, 255).astype(np.uint8)"),
         ("guess", "def guess(image, templates): return int(((templates - image)**2).sum(axis=(1, 2)).argmin())"),
         ("scores", "def scores(pixels, weights, bias): return [sum(pixels * weights[:, i]) + bias[i] for i in range(len(bias))]"),
         ("softmax", "def softmax(scores):\n    e = np.exp(scores - max(scores))\n    return e / sum(e)"), ("best_step", "best_step = np.argmin"),
         ("margin", "def margin(p, n): return 1.96 * (p * (1 - p) / n)**.5"), ("top_accuracy", "top_accuracy = 9850 / 10000"),
         ("only_one", "def only_one(a, b, labels):\n    pairs = list(zip(a == labels, b == labels))\n    return [pairs.count((True, False)), pairs.count((False, True))]")]


@pytest.mark.parametrize("task, code", RIGHT)
def test_other_right_answers_are_accepted(task, code):
    assert check(task, answered(task, code)).right


def mutants(code):
    "The code with one operator, comparison or number changed, in turn."
    swap = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult, ast.MatMult: ast.Add, ast.BitAnd: ast.BitOr,
            ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
    for i, node in enumerate(ast.walk(ast.parse(code))):
        tree = copy.deepcopy(ast.parse(code))
        changed = list(ast.walk(tree))[i]
        if isinstance(node, ast.BinOp):
            changed.op = swap[type(node.op)]()
        elif isinstance(node, ast.Compare):
            changed.ops = [swap[type(node.ops[0])]()]
        elif isinstance(node, ast.Constant):
            changed.value = 2 * node.value + 1
        elif isinstance(node, ast.UnaryOp):
            changed.op = ast.UAdd()
        else:
            continue
        yield ast.unparse(tree)


def test_no_changed_solution_is_right():
    tried = [(task, code, check(task, answered(task, code)).right) for task, solution in solutions().items() for code in mutants(solution)]
    assert len(tried) > 35
    assert not [(task, code) for task, code, right in tried if right is not False]


def test_a_loop_without_end_is_stopped():
    before = threading.active_count()
    feedback = check("mean_ink", answered("mean_ink", "def mean_ink(image):\n    while True: pass"), seconds=0.2)
    assert feedback.right is False and "Does every loop in it end?" in feedback.text
    assert threading.active_count() == before


def test_a_loop_that_cannot_be_stopped_is_named():
    halt = threading.Event()
    code = "def mean_ink(image):\n    while not halt.is_set():\n        try:\n            while not halt.is_set(): pass\n        except: pass"
    space = {"halt": halt}
    exec(code, space)
    feedback = check("mean_ink", space["mean_ink"], seconds=0.2)
    halt.set()
    assert feedback.right is False and "Restart the kernel" in feedback.text


def test_hidden_tests_print_nothing(capsys):
    check("mean_ink", answered("mean_ink", "def mean_ink(image):\n    print(image)\n    return np.mean([])"))
    assert capsys.readouterr() == ("", "")
