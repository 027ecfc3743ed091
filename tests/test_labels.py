"""Laws of the ranking of doubtful labels, and the files of `audit` that people have edited."""
import csv
import json

import numpy as np
import pytest
from processes import run
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from test_terminal import typed

from digit_recognizer.analysis.labels import AUDIT, label_margin, other_neighbours, rank_labels, read_corrections, vote_shares
from digit_recognizer.analysis.neighbours import shrink
from digit_recognizer.core.files import InputError
from digit_recognizer.core.mnist import deal_mnist
from digit_recognizer.data import load_digits


@pytest.fixture(scope="module")
def planted():
    "1,500 digits, twenty of them with another label, and out-of-fold probabilities of a model that learnt from these labels."
    x, y = (a[:1500] for a in deal_mnist()[:2])
    rng = np.random.default_rng(0)
    rows = rng.choice(len(y), 20, replace=False)
    y[rows] = (y[rows] + rng.integers(1, 10, 20)) % 10
    model = LogisticRegression(C=0.1, max_iter=300)
    return x, y, cross_val_predict(model, shrink(x, 2).reshape(len(x), -1) / 255, y, cv=3, method="predict_proba"), rows


def test_planted_flips_come_first(planted):
    x, y, proba, rows = planted
    table = rank_labels(x, y, proba, n=20)
    assert np.isin(table.row, rows).sum() >= 10 and np.isin(table.row[:5], rows).all()
    assert np.isin(rank_labels(x, y, proba, n=100).row, rows).sum() >= 19


def test_two_witnesses_find_more_than_one(planted):
    "Here the model is weak: neighbours find flips among its own mistakes."
    x, y, proba, rows = planted
    margin = label_margin(y, proba).argsort()[:20]
    assert np.isin(rank_labels(x, y, proba, n=20).row, rows).sum() >= np.isin(margin, rows).sum()


def test_the_ranking_does_not_depend_on_the_order_of_rows(planted):
    x, y, proba, _ = planted
    table, order = rank_labels(x, y, proba), np.random.default_rng(1).permutation(len(y))
    other = rank_labels(x[order], y[order], proba[order])
    np.testing.assert_allclose(table.score, other.score, atol=1e-6)
    assert table.row.tolist() == order[other.row].tolist()
    some = np.random.default_rng(2).permutation(300)  # the digits that a network held out, in any order
    one, two = (rank_labels(x, y, proba[rows], rows) for rows in (some, np.sort(some)))
    assert one.equals(two)


def test_leaving_out_neighbours_changes_nothing(planted):
    "They are sought only where they can matter; the same ranking follows from all of them."
    x, y, proba, _ = planted
    rows, distances = other_neighbours(x, np.arange(len(y)))
    score = (label_margin(y, proba) + label_margin(y, vote_shares(y[rows], distances))) / 2
    for n in (1, 30, 400, 1500, 9999):
        assert rank_labels(x, y, proba, n=n).row.tolist() == np.lexsort((np.arange(len(y)), score))[:n].tolist()


def test_few_digits_and_copies():
    x, y = (a[:4] for a in deal_mnist()[:2])
    x, y = np.concatenate([x] * 3), np.concatenate([y] * 3)
    table = rank_labels(x, y, np.full((12, 10), 0.1), n=100)
    assert len(table) == 12 and np.isfinite(table.score).all() and table.votes.between(0, 1 + 1e-9).all()
    y[0] = (y[0] + 1) % 10
    assert rank_labels(x, y, np.full((12, 10), 0.1), n=1).row[0] == 0
    with pytest.raises(InputError, match="0 labels; expected 1 to 12"):
        rank_labels(x, y, np.full((12, 10), 0.1), n=0)


def test_files_of_the_shorter_audit_are_read(tmp_path):
    "Audits had six columns up to version 0.2."
    y = np.array([3, 4, 5], np.uint8)
    for header, cells in ((["row", "label", "suggested", "p_label", "p_suggested", "corrected"], "1,4,9,.1,.9,9"), (AUDIT, "1,4,9,.1,.9,.2,-.5,9")):
        (tmp_path / "audit.csv").write_text(",".join(header) + f"\n{cells}\n")
        assert read_corrections(tmp_path / "audit.csv", y) == {1: 9}


@pytest.mark.slow
def test_an_audit_from_page_to_files(root, tmp_path):
    "A page is made and its decisions are applied, each in a process of its own; bad decisions are told in one line."
    told = run(["audit", root / "nbs/results/fast", "--first", 4, "--out", tmp_path / "audit.csv"])
    assert (told.returncode, told.stderr) == (0, "") and "run --corrections decisions.csv" in told.stdout
    with open(tmp_path / "audit.csv", newline="") as file:
        asked = list(csv.DictReader(file))
    page = (tmp_path / "audit.html").read_text(encoding="utf-8")
    items = json.loads(page.split('id="items">')[1].split("</script>")[0])["items"]
    assert [[item[name] for name in AUDIT[:-1]] for item in items] == [[row[name] for name in AUDIT[:-1]] for row in asked]
    answers = [asked[0]["label"], asked[1]["suggested"], "not a digit", ""]

    def decisions(answers, **other):
        rows = [",".join([*({**row, **other}[name] for name in AUDIT[:-1]), answer]) for row, answer in zip(asked, answers)]
        (tmp_path / "decisions.csv").write_text("\n".join([",".join(AUDIT), *rows]) + "\n")

    words = ["audit", root / "nbs/results/fast", "--decisions", tmp_path / "decisions.csv", "--out", tmp_path / "clean"]
    bad = (
        (["8x"], {}, "corrects to '8x'; expected a digit from 0 to 9, 'not a digit' or nothing"),
        (["1"], {"row": "99999"}, "line 2 has row '99999'; expected 0 to 41,999"),
        (["1"], {"label": str((int(asked[0]["label"]) + 1) % 10)}, "give the audit file that was made from these digits and labels"),
        (["1", "1"], asked[0], f"line 3 repeats row {asked[0]['row']}"),
        ([], {}, "nothing is decided"),
        (["", ""], {}, "nothing is decided"),
    )
    for answered, other, message in bad:
        decisions(answered, **other)
        code, out, err = typed(*words)
        assert (code, out) == (2, "") and message in err and err.count("\n") == 1, err
        assert not (tmp_path / "clean").exists()
    decisions(answers)
    code, _, err = typed("run", "--recipe", "tiny", "--corrections", tmp_path / "decisions.csv", "--out", tmp_path / "run")
    assert code == 2 and f"row {asked[2]['row']} is not a digit, and corrections leave out no digit" in err
    told = run(words)
    assert told.returncode == 0 and "41,999 labelled digits; 1 label changed, 1 digit left out" in told.stdout, told.stderr
    before, after = load_digits(), load_digits(tmp_path / "clean", cache=False)
    y = before.y.copy()
    y[int(asked[1]["row"])] = asked[1]["suggested"]
    left = np.delete(np.arange(len(y)), int(asked[2]["row"]))
    assert np.array_equal(after.x, before.x[left]) and np.array_equal(after.y, y[left]) and np.array_equal(after.x_test, before.x_test)
