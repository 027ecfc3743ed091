"""Whole numbers: laws that hold for every list, pattern, check digit and column; the command; the real sheets where they are."""
import csv
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from digit_recognizer.core.files import InputError
from digit_recognizer.images.lists import CHECKS, IdList, has_check, parse_pattern, read_list
from digit_recognizer.images.numbers import (UNLISTED, Known, best_column, error_limit, fit_promise, guess_by_list, guess_by_rule, guess_column,
                                             guess_once, guess_rows, list_weights, load_unseen, parse_rate, simulate, sum_mass)
from digit_recognizer.runs.folder import pretrained_run

FORMS = Path(__file__).resolve().parent.parent.parent / "shared/data/forms"
HUNDRED = np.array(list(itertools.product(range(10), repeat=2)))


def rows(m, k, seed=0, sharpness=3.0):
    "Random probabilities of digits."
    logits = sharpness * np.random.default_rng(seed).normal(size=(m, k, 10))
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def sure(text):
    "A reader that is nearly certain of each digit."
    row = np.full((len(text), 10), 1e-6)
    row[np.arange(len(text)), [int(c) for c in text]] = 1
    return row / row.sum(1, keepdims=True)


def read(*words, code=0):
    "The command in a process of its own: its JSON answer."
    told = subprocess.run([sys.executable, "-m", "digit_recognizer", "read", *map(str, words), "--quiet", "--json"], capture_output=True, text=True)
    assert told.returncode == code, told.stderr
    return json.loads(told.stdout)


@pytest.fixture
def write(tmp_path):
    def make(text, name="list.csv"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name
    return make


@pytest.mark.parametrize("separator", ",;\t")
def test_a_list_keeps_zeros_and_names(write, separator):
    found = read_list(write(f"\ufeffName{separator}ID{separator}mark\nÉva{separator}007{separator}1.5\n\nBo{separator}042{separator}2\n"))
    assert (found.ids, found.names) == (("007", "042"), ("Éva", "Bo"))


@pytest.mark.parametrize("text, column, message", [
    ("", None, "an empty file; expected a CSV with a column of ids"), ("id\n1\n1\n", None, "id 1 occurs twice, in rows 2 and 3"), ("id\n01\n1\n", None, "row 3: id 1 has 1 digits, row 2 has 2"),
    ("id\n1x\n", None, "row 2: id '1x'; expected digits alone"), ("id\n٣٤\n", None, "expected digits alone"), ("id,n\n1,2\n", "no", "no column 'no'; its columns are id, n"),
    ("a,b\n1,2\n", None, "2 columns of digits alone"), ("a,id\nx,1\ny\n", None, "row 3: id ''"), ("id\n" + "1" * 41 + "\n", None, "expected at most 40")])
def test_bad_lists_are_refused(write, text, column, message):
    with pytest.raises(InputError, match=message) as told:
        read_list(write(text), column)
    assert "\n" not in str(told.value)


def test_a_list_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "list.csv").write_bytes(b"PK\x03\x04\xff\xfe\x00")
    with pytest.raises(InputError, match="a spreadsheet, expected text"):
        read_list(tmp_path / "list.csv")


@pytest.mark.parametrize("check", CHECKS)
def test_check_digits_find_what_they_promise(check):
    "By brute force: how many numbers of five digits are right, and that every wrong digit is found."
    numbers = np.array(list(itertools.product(range(10), repeat=5)))
    good = has_check(numbers, check)
    modulus = CHECKS[check][1]
    assert abs(good.sum() - 1e5 / modulus) < 20 * modulus / 10
    for right in numbers[good][::97]:
        for place in range(5):
            others = np.tile(right, (10, 1))
            others[:, place] = np.arange(10)
            assert has_check(others, check).sum() == 1


@pytest.mark.parametrize("pattern, fits, not_fit", [("0#{3}", "0123", "1123"), ("[1-3][^5]", "26", "25"), ("# #-#", "123", None), ("[0-29]", "9", "3")])
def test_patterns_mean_what_the_page_says(pattern, fits, not_fit):
    allowed = parse_pattern(pattern)
    def matches(text):
        return len(text) == len(allowed) and all(allowed[j, int(c)] for j, c in enumerate(text))
    assert matches(fits) and (not_fit is None or not matches(not_fit))


def test_a_posterior_sums_to_one():
    "The weights of the ids and of all other numbers are those of all hundred numbers of two digits."
    ids = IdList(("12", "34", "56", "99"))
    inside = (HUNDRED[:, None] == ids.digits).all(2).any(1)
    for row in rows(5, 2):
        prior = (1 - UNLISTED) * inside / 4 + UNLISTED * (.005 + .5 * ids.shares[np.arange(2), HUNDRED].prod(1))
        joint = prior * row[np.arange(2), HUNDRED].prod(1)
        weights, off = list_weights(row[None], ids)
        assert np.isclose(prior.sum(), 1) and np.isclose(weights.sum() + off[0], joint.sum())
        guess = guess_by_list(row[None], ids)[0]
        exact = joint[int(guess.text)] / joint.sum()
        assert np.isclose(guess.probability, exact) if guess.fits else guess.probability <= exact


@pytest.mark.parametrize("once", [False, True])
def test_a_shuffled_list_and_shuffled_sheets_change_nothing(once):
    rng = np.random.default_rng(1)
    ids = [f"{n:04d}" for n in rng.choice(10**4, 30, False)]
    evidence = rows(12, 4, 2, 4.0)
    answer = guess_once if once else guess_by_list
    first = answer(evidence, IdList(tuple(ids)))
    again = answer(evidence, IdList(tuple(rng.permutation(ids).tolist())))
    order = rng.permutation(12)
    moved = answer(evidence[order], IdList(tuple(ids)))
    for other in (again, [moved[i] for i in np.argsort(order)]):
        assert [g.text for g in other] == [g.text for g in first]
        assert np.allclose([g.risk for g in other], [g.risk for g in first], atol=1e-6)


def test_no_id_is_given_twice_and_one_way_out_is_taken():
    ids = IdList(("1234", "1235", "1236"))
    found = guess_once(np.stack([sure("1234"), sure("1234"), sure("1235"), sure("9078")]), ids)
    given = [g.text for g in found if g.fits]
    assert len(given) == len(set(given)) and not found[3].fits
    crowd = guess_once(np.stack([sure("1234")] * 6), ids)  # more sheets than ids
    assert len([g for g in crowd if g.fits]) <= 3
    assert max(g.probability for g in crowd) < .9  # nobody knows which of them it is


def test_certain_digits_stay():
    "Neither a list nor a rule changes a number whose digits are certain."
    ids = IdList(tuple(f"{n:06d}" for n in range(0, 10**6, 3001)))
    assert [g.text for g in guess_by_list(np.stack([sure("003001"), sure("555555")]), ids)] == ["003001", "555555"]
    assert guess_by_rule(sure("79927398714")[None], parse_pattern("#{11}"), "luhn")[0].text != ""
    right = guess_by_rule(sure("79927398713")[None], parse_pattern("#{11}"), "luhn")[0]
    assert (right.text, right.fits) == ("79927398713", True) and right.risk < 1e-4


def test_an_unknown_digit_is_found_by_the_check_digit():
    row = sure("79927398713")
    row[4] = .1
    assert guess_by_rule(row[None], parse_pattern("#{11}"), "luhn")[0].text == "79927398713"


def test_a_rule_never_makes_probability():
    for check, pattern in itertools.product(("", *CHECKS), ("##", "[3-7]#")):
        allowed = parse_pattern(pattern)
        fits = allowed[np.arange(2), HUNDRED].all(1) & (has_check(HUNDRED, check) if check else True)
        for row in rows(3, 2, 5) if fits.any() else ():
            off = 0 if fits.all() else UNLISTED
            posterior = ((1 - off) * fits / fits.sum() + off / 100) * row[np.arange(2), HUNDRED].prod(1)
            posterior /= posterior.sum()
            guess = guess_by_rule(row[None], allowed, check)[0]
            assert np.isclose(guess.probability, posterior.max()) and int(guess.text) == posterior.argmax()


@pytest.mark.parametrize("n", [3, 5])
def test_a_column_adds_up(n):
    for seed in range(10):
        evidence = rows(n, 3, seed)
        digits = best_column(evidence)
        values = digits @ [100, 10, 1]
        assert values[-1] == values[:-1].sum() and 0 <= sum_mass(evidence) <= 1
        order = np.random.default_rng(seed).permutation(n - 1)
        assert (best_column(np.concatenate([evidence[:-1][order], evidence[-1:]]))[:-1] == digits[:-1][order]).all()


def test_a_wrong_sum_is_told():
    good = guess_column(np.stack([sure("120"), sure("035"), sure("155")]))
    bad = guess_column(np.stack([sure("120"), sure("035"), sure("999")]))
    assert all(g.fits and g.risk < 1e-3 for g in good) and not any(g.fits for g in bad)
    assert [g.text for g in bad] == ["120", "035", "999"]


@pytest.mark.parametrize("options, message", [
    (["--once"], "add --list"), (["--check", "lun"], "luhn"), (["--pattern", "0#x"], "'x' has no meaning"), (["--wrong-at-most", "2"], "expected a share"),
    (["--list-column", "id"], "add --list"), (["--sum", "--check", "luhn"], "cannot be combined"), (["--list", "gone.csv"], "gone.csv"),
    (["--wrong-at-most", "1/1000000"], "1/1,000,000 wrong at most cannot be promised: .* promise 1/2,670"), (["--decisions", "gone.csv"], "gone.csv")])
def test_wrong_options_are_told_in_one_line(root, options, message):
    error = read(root / "nbs/samples/sheet.png", *options, code=2)["error"]
    import re
    assert re.search(message, error) and "\n" not in error


def test_the_command_with_a_list(root, write, tmp_path):
    sheet = root / "nbs/samples/sheet.png"
    before = read(sheet)
    assert before["numbers"] is before["promise"] is before["review"] is None
    ids = write("id,name\n4104774,=cmd()\n4104775,Bo\n9999999,Cy\n")
    found = read(sheet, "--list", ids, "--csv", tmp_path / "out.csv")
    assert found["files"] == before["files"]
    by_line = {n["line"]: n for n in found["numbers"]}
    assert (by_line[2]["number"], by_line[2]["name"], by_line[2]["review"]) == ("4104774", "=cmd()", None)
    assert {n["review"] for n in found["numbers"] if n["line"] != 2} == {"8 digits, expected 7", "9 digits, expected 7", "6 digits, expected 7"}
    table = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert [r["number"] for r in table] == (root / "nbs/samples/sheet.txt").read_text().split()
    assert table[1]["name"] == "'=cmd()"


def test_error_limits_are_those_of_scipy():
    from scipy.stats import binomtest
    for wrong, n in ((0, 100), (3, 1000), (7, 7)):
        assert np.isclose(error_limit(np.array([wrong]), np.array([n]))[0], binomtest(wrong, n).proportion_ci(.9, "exact").high)


def test_a_promise_is_kept_by_numbers_of_other_digits():
    "Errors with a known rate at each risk: over many draws, at most one promise in twenty is broken."
    rng, broken, made, rate = np.random.default_rng(0), 0, 0, .01
    for _ in range(300):
        risk = rng.beta(.3, 12, 3000)
        try:
            found = fit_promise(risk, rng.random(3000) < risk, rate, 3000)
        except InputError:
            continue
        made += 1
        other = rng.beta(.3, 12, 200_000)
        broken += other[other <= found.limit].mean() > rate
    assert made > 200 and broken / made < .08


def test_rates_are_read():
    assert parse_rate(" 1 / 1,000 ") == parse_rate("0.1%") == .001


def test_the_shipped_probabilities_are_those_of_the_reader(root):
    from digit_recognizer.core.files import sha256
    from digit_recognizer.core.predict import predict
    from digit_recognizer.data import load_embedded
    from digit_recognizer.runs.export import small_model
    run, digits = pretrained_run(), load_embedded()
    unseen = load_unseen(run.folder)
    with np.load(run.folder / "unseen.npz") as z:
        assert str(z["network"]) == sha256(run.folder / "network.json"), "python tools/unseen.py"
    proba = predict(small_model(run), digits.x_test[:1000], check=False)
    assert (unseen.y[:28000] == digits.y_test).all() and len(unseen) == 36_400
    assert abs(unseen.proba[:1000] - proba).max() < .02
    assert (unseen.proba[:1000].argmax(1) == proba.argmax(1)).all()


def test_simulated_answers_are_calibrated():
    "With consecutive ids, as many wrong answers as the probabilities expect, within three standard errors."
    ids = IdList(tuple(f"20230{n:04d}" for n in range(1000, 1400)))
    risk, wrong = simulate(Known(ids), load_unseen(pretrained_run().folder), 9)
    answered = risk < 1
    expected = risk[answered].sum()
    assert abs(wrong[answered].sum() - expected) < 3 * np.sqrt(expected) + 5


def test_every_way_takes_the_same_rows():
    ids = IdList(("0123", "4567", "8901"))
    evidence = np.stack([sure("0123"), sure("4567"), sure("4690")])
    for known in (Known(), Known(ids), Known(ids, once=True), Known(total=True), Known(pattern="####", check="luhn")):
        found = guess_rows(evidence, known)
        assert len(found) == 3 and all(0 <= g.risk <= 1 and len(g.text) == 4 for g in found)


@pytest.mark.skipif(not FORMS.exists(), reason="the real sheets are not here")
@pytest.mark.slow
def test_real_sheets_with_their_list(tmp_path):
    pytest.importorskip("pypdfium2")
    found = read(FORMS / "sheets.pdf", "--list", FORMS / "class-list.csv", "--once", "--wrong-at-most", "1/1000")
    truth = [row["id"] for row in csv.DictReader((FORMS / "sheets.csv").read_text().splitlines())]
    numbers = [n for n in found["numbers"] if len(n["number"]) == 9]
    assert [n["number"] for n in numbers] == truth
    assert all(n["number"] in truth for n in numbers if not n["review"])
