"""Kaggle's faults, one by one: what the user sees, what is left on the disk, and that no secret gets out.

Everything runs against a fake Kaggle on this machine; no test reaches the real one. The pages nbs/core/kaggle and
nbs/runs/upload show the usual way.
"""

import base64
import hashlib
import importlib
import io
import json
import os
import shutil
import socket
import sys
import traceback
import zipfile
from contextlib import redirect_stdout
from unittest.mock import patch

import pytest

from digit_recognizer.core.files import InputError
from digit_recognizer.data import load_digits
from digit_recognizer.runs import upload
from digit_recognizer.runs.folder import load_run
from digit_recognizer.runs.upload import prepare_upload, submit_run
from fake_kaggle import (
    NOWHERE,
    SCORE,
    SUBMISSION,
    TOKEN,
    Call,
    Fault,
    block_network,
    change_label,
    edit_submission,
    few_digits,
    kaggle_home,
    make_run,
    refuse,
    run_command,
    start_kaggle,
    zip_digits,
)

pytest.importorskip("kagglehub")
OLD_KEY = "the-older-secret"
OLD_ENV = {"KAGGLE_API_TOKEN": "", "KAGGLE_USERNAME": "me", "KAGGLE_KEY": OLD_KEY}
BASIC = base64.b64encode(f"me:{OLD_KEY}".encode()).decode()
SECRETS = TOKEN, OLD_KEY, BASIC
RULES = "You must accept this competition's rules before you'll be able to download files."
COMPLETE = ["digit-recognizer.complete"] + [f"digit-recognizer/{name}.csv" for name in ("sample_submission", "test", "train")]
RUN_FILES = ["curve.csv", "model.keras", "run.json", "submission.csv", "test.npz", "validation.npz"]


@pytest.fixture(scope="module")
def few():
    "A few digits, as Kaggle offers them."
    return few_digits()


@pytest.fixture(scope="module")
def archive(few, tmp_path_factory):
    "The zip file that Kaggle offers."
    return zip_digits(few, tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    "The folder into which Kaggle's client writes its log, from its first import on."
    folder = tmp_path_factory.mktemp("logs")
    with patch.dict(os.environ, {"KAGGLE_LOGGING_ROOT_DIR": str(folder)}), kaggle_home(folder):
        importlib.import_module("kagglehub")
    return folder


@pytest.fixture
def said():
    "Everything that a test's commands print, and what hangs on their exceptions."
    return []


@pytest.fixture
def kaggle(archive, logs, said, tmp_path):
    "A fake Kaggle; after the test, no secret may have been printed or written, and no other machine asked for."
    with start_kaggle(tmp_path, archive) as kaggle:
        yield kaggle
    assert kaggle.blocked == []
    written = [p.read_bytes().decode("latin-1") for folder in (tmp_path, logs) for p in folder.rglob("*") if p.is_file()]
    assert not [text for text in said + written if any(secret in text for secret in SECRETS)]
    assert not [call for call in kaggle.calls if call.server == "storage" and call.authorization]


@pytest.fixture
def command(kaggle, said):
    "Run a command: exit code, standard output, standard error."

    def call(*words):
        code, out, err = run_command(*words)
        said.extend([out, err])
        return code, out, err

    return call


@pytest.fixture
def failed_command(command, kaggle):
    "Run a command during a fault: its one line on standard error, after exit code 2."

    def call(fault, *words):
        with fault.apply(kaggle):
            code, out, err = command(*words)
        assert (code, err.count("\n"), err[:7]) == (2, 1, "error: ")
        return err.strip().removeprefix("error: ")

    return call


@pytest.fixture(scope="module")
def finished_runs(tmp_path_factory):
    "A folder with the runs `run`, `rehearsal` and `copies`, to be copied."
    folder = tmp_path_factory.mktemp("runs")
    for name in ("run", "rehearsal", "copies"):
        make_run(folder / name, rehearsal=name == "rehearsal", copies=29 if name == "copies" else 0)
    return folder


@pytest.fixture
def copy_run(finished_runs, tmp_path):
    "Copy a finished run, `run`, `rehearsal` or `copies`, into the test's folder."
    return lambda name="run": load_run(shutil.copytree(finished_runs / name, tmp_path / name))


def cached(folder):
    "What kagglehub keeps, in a home folder."
    return sorted(p.relative_to(folder / "cache/competitions").as_posix() for p in (folder / "cache").rglob("*") if p.is_file())


# The fake Kaggle


def test_no_other_machine_is_reached(tmp_path, logs):
    "Neither an address that is nobody's (RFC 5737), nor a name, nor Kaggle's client with its own address."
    import kagglehub
    import requests

    with block_network() as blocked, kaggle_home(tmp_path):
        with pytest.raises(RuntimeError, match="may not reach 192.0.2.1"):
            socket.create_connection(("192.0.2.1", 443), 1)
        with pytest.raises(RuntimeError, match="may not reach 192.0.2.1"), socket.socket() as s:
            s.connect_ex(("192.0.2.1", 443))
        with pytest.raises(RuntimeError, match="may not reach www.kaggle.com"):
            requests.get("https://www.kaggle.com")
        with redirect_stdout(io.StringIO()), pytest.raises(RuntimeError, match="may not reach api.kaggle.com"):
            kagglehub.competition_download("digit-recognizer")
    assert blocked == ["192.0.2.1", "192.0.2.1", "www.kaggle.com", "api.kaggle.com"]
    assert not list((tmp_path / "cache").rglob("*.csv"))


def test_the_fake_kaggle_answers(kaggle):
    import requests

    assert requests.post(f"{kaggle.url('api')}/v1/x/GetSubmissionLimits").json()["numAllowedNow"] == 9
    assert kaggle.calls == [Call("api", "GetSubmissionLimits", None, b"")]


# Downloads


def test_download(kaggle, few, tmp_path):
    loaded = load_digits("kaggle", cache=False)
    assert (loaded.x == few.x).all() and (loaded.y == few.y).all() and (loaded.x_test == few.x_test).all()
    assert (loaded.source, loaded.rehearsal) == ("csv", False)
    assert loaded.path == (tmp_path / "cache/competitions/digit-recognizer").resolve()
    assert [call[:3] for call in kaggle.calls] == [("api", "DownloadDataFiles", f"Bearer {TOKEN}"), ("storage", "GET", None)]
    assert cached(tmp_path) == COMPLETE


def test_second_download_asks_nobody(kaggle):
    loaded = load_digits("kaggle", cache=False)
    kaggle.calls.clear()
    with patch.dict(os.environ, KAGGLE_API_TOKEN=""):
        assert load_digits("kaggle", cache=False).fingerprint == loaded.fingerprint
    assert kaggle.calls == []


def test_a_folder_named_kaggle(kaggle, few, archive, tmp_path, monkeypatch):
    "Its name would have two meanings; the error tells how to say either."
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(io.BytesIO(archive)) as z:
        z.extractall("kaggle")
    with pytest.raises(InputError, match="write ./kaggle"):
        load_digits("kaggle")
    assert load_digits("./kaggle", cache=False).fingerprint == few.fingerprint
    assert kaggle.calls == []


def damaged_zip(archive):
    return archive[:200] + bytes(60) + archive[260:]


def zip_without_test(_):
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as z:
            z.writestr("train.csv", "label")
        return file.getvalue()


HELP_TOKEN = "make a token on https://www.kaggle.com/settings"
NOT_A_ZIP = "is not the competition's zip and was removed"
DOWNLOADS = {  # fault -> how it is made, what the line says, what kagglehub keeps
    "the extra is missing": (Fault(missing=("kagglehub",)), "[kaggle]'", []),
    "no credentials": (Fault(env={"KAGGLE_API_TOKEN": ""}), HELP_TOKEN, []),
    "credentials unreadable": (
        Fault(env={"KAGGLE_API_TOKEN": ""}, kaggle_json='{"username": "me", "key": "%s"' % TOKEN),
        "credentials cannot be read",
        [],
    ),
    "token with a line break": (Fault(env={"KAGGLE_API_TOKEN": f"{TOKEN}\n{TOKEN}"}), "a line break", []),
    "token longer than a name": (Fault(env={"KAGGLE_API_TOKEN": TOKEN * 20}), "credentials cannot be read", []),
    "told to use another server": (Fault(env={"KAGGLE_API_ENVIRONMENT": "TEST"}), "unset it", []),
    "wrong credentials": (refuse("DownloadDataFiles", 401), HELP_TOKEN, []),
    "rules not accepted": (refuse("DownloadDataFiles", 403, RULES), "accept the rules on https://", []),
    "the same, with status 200": (Fault({"DownloadDataFiles": (200, {"code": 403, "message": RULES})}), f'(status 403: "{RULES}")', []),
    "not found": (refuse("DownloadDataFiles", 404), "does not find the competition", []),
    "too many requests": (refuse("DownloadDataFiles", 429), "wait some minutes", []),
    "server error": (refuse("DownloadDataFiles", 500), "Kaggle failed; run the same command again later (status 500", []),
    "an answer with the token": (refuse("DownloadDataFiles", 400, f"Bearer {TOKEN}\x1b[2J and more"), r'(status 400: "Bearer …\x1b[2J and more")', []),
    "no network": (Fault(url=NOWHERE), "check the network", []),
    "connection closed": (Fault({"DownloadDataFiles": "silent"}), "check the network", []),
    "no answer in time": (Fault({"DownloadDataFiles": "late"}), "did not answer in time", []),
    "storage refuses": (refuse("GET", 403), "storage refused the request (status 403)", []),
    "cut short": (Fault({"GET": "short"}), "the connection broke off", ["digit-recognizer.archive"]),
    "a login page": (Fault({"GET": (200, "<html>Sign in</html>")}), NOT_A_ZIP, []),
    "a damaged zip": (Fault(change_archive=damaged_zip), NOT_A_ZIP, []),
    "a zip without test.csv": (Fault(change_archive=zip_without_test), "has no test.csv", ["digit-recognizer.complete", "digit-recognizer/train.csv"]),
}


@pytest.mark.parametrize("name", DOWNLOADS)
def test_download_fails(name, failed_command, few, copy_run, tmp_path):
    "`report --data kaggle`, which begins by reading the digits, as `run` does."
    fault, words, left = DOWNLOADS[name]
    line = failed_command(fault, "report", copy_run().folder, "--data", "kaggle")
    assert words in line
    assert cached(tmp_path) == left
    if name != "a zip without test.csv":  # which is a complete copy, of other files
        assert load_digits("kaggle", cache=False).fingerprint == few.fingerprint


def test_interrupted_download_is_continued(kaggle, failed_command, few, copy_run):
    failed_command(Fault({"GET": "short"}), "report", copy_run().folder, "--data", "kaggle")
    kaggle.calls.clear()
    assert load_digits("kaggle", cache=False).fingerprint == few.fingerprint
    assert kaggle.names == ["DownloadDataFiles", "GET", "GET the rest"]


@pytest.mark.parametrize("fault", [{"DownloadDataFiles": "silent"}, {"DownloadDataFiles": (500, {})}, {"GET": "short"}])
def test_a_complete_copy_is_never_lost(fault, kaggle, few, tmp_path):
    "kagglehub itself loses it, where the storage gives no date and the download breaks off."
    load_digits("kaggle", cache=False)
    kaggle.dated, kaggle.faults = False, fault
    assert load_digits("kaggle", cache=False).fingerprint == few.fingerprint
    assert cached(tmp_path) == COMPLETE


def test_kagglehub_loses_a_complete_copy(kaggle, tmp_path):
    "The reason why a complete copy is used without asking."
    import kagglehub
    import requests

    load_digits("kaggle", cache=False)
    kaggle.dated, kaggle.faults = False, {"GET": "short"}
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        kagglehub.competition_download("digit-recognizer")
    assert cached(tmp_path) == ["digit-recognizer.archive"]


# Submissions


@pytest.mark.parametrize(
    "change, message",
    [
        (change_label, r"\(1 lines differ from the predictions in test.npz\)"),
        (lambda data: data.replace(b"\n", b"\r\n"), "was changed after the run"),
        (lambda data: data[: data[:-1].rindex(b"\n") + 1], "27,999 predictions"),
    ],
)
def test_an_edited_submission_is_not_sent(change, message, copy_run):
    with pytest.raises(InputError, match=message):
        prepare_upload(edit_submission(copy_run(), change))


def test_a_rehearsal_is_not_sent(copy_run):
    run = copy_run("rehearsal")
    with pytest.raises(InputError, match="is a rehearsal and was not sent"):
        prepare_upload(run)
    assert prepare_upload(run, rehearsal=True) == (run.folder / "submission.csv").read_bytes()


def test_submit(kaggle, copy_run):
    run = copy_run()
    kaggle.pending = 2
    sent = submit_run(run.folder, "the first", waits=(0, 0, 0))
    assert kaggle.uploaded == (run.folder / "submission.csv").read_bytes()
    assert (sent["reference"], sent["status"], sent["score"], sent["message"]) == (SUBMISSION, "complete", SCORE, "the first")
    assert sent["sha256"] == hashlib.sha256(kaggle.uploaded).hexdigest()
    assert load_run(run.folder).info == {**run.info, "submissions": [sent]}
    assert {(call.server, call.authorization) for call in kaggle.calls} == {("api", f"Bearer {TOKEN}"), ("storage", None)}
    created = next(call.sent for call in kaggle.calls if call.name == "CreateSubmission")
    assert json.loads(created) == {"competitionName": "digit-recognizer", "blobFileTokens": "blob-7", "submissionDescription": "the first"}
    assert [name for name in kaggle.names if name != "GetSubmissionLimits"] == [
        "StartSubmissionUpload", "PUT", "CreateSubmission", "GetSubmission", "GetSubmission", "GetSubmission"]  # fmt: skip


def test_a_second_command_sends_nothing(kaggle, copy_run):
    run = copy_run()
    sent = submit_run(run.folder, "once", waits=(0,))
    kaggle.calls.clear()
    assert submit_run(run.folder, "twice") == sent
    assert kaggle.calls == []


def ctrl_c():
    "The user ends the waiting."
    raise KeyboardInterrupt
    yield


def test_the_score_is_asked_for_later(kaggle, copy_run):
    "After Ctrl-C, and after waiting for too short a time."
    folder = copy_run().folder
    kaggle.pending = 2
    waiting = submit_run(folder, "slow", waits=ctrl_c())
    assert (waiting["status"], waiting["score"]) == ("pending", None)
    assert submit_run(folder, "slow", waits=(0, 0))["status"] == "pending"
    later = submit_run(folder, "slow", waits=(0,))
    assert later == {**waiting, "status": "complete", "score": SCORE}
    assert load_run(folder).info["submissions"] == [later]
    assert kaggle.names.count("CreateSubmission") == 1 and kaggle.names.count("GetSubmission") == 3


@pytest.mark.parametrize("fault", [(500, {}), (429, {}), "silent"])
def test_a_submission_counts_without_its_score(fault, kaggle, copy_run):
    run = copy_run()
    kaggle.faults = {"GetSubmission": fault}
    waiting = submit_run(run.folder, "asked", waits=(0, 0))
    assert (waiting["status"], waiting["reference"]) == ("pending", SUBMISSION)


def test_killed_before_kaggle_answers(kaggle, copy_run):
    "The run knows that something was sent, and the file is sent again only with `again`."
    folder, request = copy_run().folder, upload._request

    def killed(api, method, *words, **fields):
        if method == "create_submission":
            sys.exit(137)
        return request(api, method, *words, **fields)

    with patch.object(upload, "_request", killed), pytest.raises(SystemExit):
        submit_run(folder, "killed")
    assert [s["status"] for s in load_run(folder).info["submissions"]] == ["unknown"]
    with pytest.raises(InputError, match="no answer came; look at .* send it with --again"):
        submit_run(folder, "killed")
    submit_run(folder, "killed", again=True, waits=(0,))
    assert [s["status"] for s in load_run(folder).info["submissions"]] == ["unknown", "complete"]


USED_UP = Fault({"GetSubmissionLimits": (200, {"numToday": 10, "numTotal": 50, "numAllowedNow": 0})})
BOTH_401 = Fault(dict.fromkeys(["GetSubmissionLimits", "StartSubmissionUpload"], (401, {"code": 401, "message": "Unauthorized"})))
ALLOWANCE = "Your team has used its daily Submission allowance"
SUBMISSIONS = {  # fault -> how it is made, what the line says, the status in run.json where it changed
    "wrong credentials": (BOTH_401, "does not accept the credentials", None),
    "the extra is missing": (Fault(missing=("kagglesdk",)), "[kaggle]'", None),
    "no credentials": (Fault(env={"KAGGLE_API_TOKEN": ""}), "credentials for Kaggle are missing", None),
    "today's submissions used up": (USED_UP, "submissions are used up (10 were sent)", None),
    "rules not accepted": (refuse("StartSubmissionUpload", 403), "accept the rules on https://", None),
    "not found": (refuse("StartSubmissionUpload", 404), "does not find the competition", None),
    "too many requests": (refuse("StartSubmissionUpload", 429), "wait some minutes", None),
    "server error": (refuse("StartSubmissionUpload", 500), "run the same command again later (status 500", None),
    "a login page": (Fault({"StartSubmissionUpload": (200, "<html>Sign in</html>")}), "the answer is not Kaggle's", None),
    "no network": (Fault(url=NOWHERE), "check the network", None),
    "upload refused": (refuse("PUT", 403), "refused the file (status 403), nothing was submitted", None),
    "upload fails": (refuse("PUT", 503), "refused the file (status 503), nothing was submitted", None),
    "upload breaks off": (Fault({"PUT": "silent"}), "check the network", None),
    "upload is not answered": (Fault({"PUT": "late"}), "did not answer in time", None),
    "refused, with a reason": (refuse("CreateSubmission", 400, ALLOWANCE), f'(status 400: "{ALLOWANCE}")', None),
    "refused, in a message": (Fault({"CreateSubmission": (200, {"message": "Could not submit to competition", "ref": 0})}),
                              'Kaggle refused the submission: "Could not submit to competition"', None),
    "the last answer is lost": (Fault({"CreateSubmission": "silent"}), "/submissions: it may have arrived", "unknown"),
    "the last answer is an error": (refuse("CreateSubmission", 500), "/submissions: it may have arrived", "unknown"),
    "Kaggle cannot score it": (Fault({"GetSubmission": (200, {"ref": SUBMISSION, "status": "ERROR", "errorDescription": "Evaluation Exception"})}),
                               'could not score the file: "Evaluation Exception"', "error"),
}  # fmt: skip


def asks_for_limits():
    "Can the client ask how many submissions are left? Not the one that Python 3.10 gets."
    from kagglesdk.competitions.services.competition_api_service import CompetitionApiClient

    return hasattr(CompetitionApiClient, "get_submission_limits")


@pytest.mark.parametrize("name", SUBMISSIONS)
def test_submission_fails(name, failed_command, copy_run):
    if name == "today's submissions used up" and not asks_for_limits():
        pytest.skip("this client does not ask")
    fault, words, status = SUBMISSIONS[name]
    run = copy_run()
    before = (run.folder / "run.json").read_bytes()
    assert words in failed_command(fault, "submit", run.folder, "-m", "try")
    records = load_run(run.folder).info.get("submissions", [])
    assert [record["status"] for record in records] == ([status] if status else [])
    assert status or (run.folder / "run.json").read_bytes() == before
    assert sorted(p.name for p in run.folder.iterdir()) == RUN_FILES


MISTAKES = {  # mistake -> the run, the message, a change of submission.csv, what the line says
    "no such run": ("gone", "try", None, "no such folder; give the folder of a run, or make one with"),
    "no message": ("run", " ", None, "the message is empty"),
    "a rehearsal": ("rehearsal", "try", None, "or add --rehearsal-anyway"),
    "copies": ("copies", "try", None, "29 of 28,000 digits to predict are copies of labelled ones"),
    "a broken file": ("run", "try", lambda data: data[:-2], "line 28001 has Label ''"),
    "changed since the run": ("run", "try", change_label, "was changed after the run"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_submission_with_a_mistake(name, kaggle, failed_command, copy_run, tmp_path):
    folder, message, change, words = MISTAKES[name]
    runs = [copy_run(), copy_run("rehearsal"), copy_run("copies")]
    for run in runs if change else []:
        edit_submission(run, change)
    assert words in failed_command(Fault(), "submit", tmp_path / folder, "-m", message)
    assert [load_run(run.folder).info for run in runs] == [run.info for run in runs]
    assert [sorted(p.name for p in run.folder.iterdir()) for run in runs] == [RUN_FILES] * 3
    assert kaggle.calls == []


def test_a_full_disk_is_met_before_anything_counts(kaggle, command, copy_run):
    run = copy_run()
    with patch("os.fsync", side_effect=OSError(28, "No space left on device", "run.json")):
        code, out, err = command("submit", run.folder, "-m", "full")
    assert (code, err) == (2, "error: run.json: No space left on device\n")
    assert "CreateSubmission" not in kaggle.names
    assert load_run(run.folder).info == run.info


# The command line


def test_submit_command_sends_a_rehearsal(command, copy_run):
    run = copy_run("rehearsal")
    code, out, err = command("submit", run.folder, "-m", "a rehearsal", "--rehearsal-anyway")
    assert (code, err) == (0, "")
    assert f"number {SUBMISSION}" in out and SCORE in out and "MNIST" in out


def test_submit_command_sends_copies(kaggle, command, copy_run):
    run = copy_run("copies")
    code, out, err = command("submit", run.folder, "-m", "copies", "--copies-anyway")
    assert (code, err) == (0, "")
    assert "29 of 28,000 digits to predict are copies of labelled ones" in out and SCORE in out


def test_submit_command_without_a_score(kaggle, command, copy_run):
    run = copy_run()
    kaggle.pending = 99
    code, out, err = command("submit", run.folder, "-m", "slow")
    assert (code, err) == (0, "")
    assert f"number {SUBMISSION}" in out and SCORE not in out and "https://www.kaggle.com/competitions/digit-recognizer/submissions" in out


# Secrets


def trail(e):
    "An exception with all that is chained to it, as text, attributes included."
    while e:
        yield from (repr(e), "".join(traceback.format_exception(e)), repr(vars(e)))
        e = e.__cause__ or e.__context__


@pytest.mark.parametrize("fault", ["refused", "silent"])
@pytest.mark.parametrize("env, echo, sent", [({}, TOKEN, f"Bearer {TOKEN}"), (OLD_ENV, f"{BASIC} {OLD_KEY}", f"Basic {BASIC}")], ids=["token", "key"])
def test_an_error_holds_no_secret(env, echo, sent, fault, kaggle, said, copy_run):
    "Kaggle's own words are repeated without the secret, and nothing is chained to the error."
    answer = (401, {"code": 401, "message": f"Not good: {echo}"}) if fault == "refused" else fault
    kaggle.faults = dict.fromkeys(["GetSubmissionLimits", "StartSubmissionUpload"], answer)
    with patch.dict(os.environ, env), pytest.raises(InputError) as caught:
        submit_run(copy_run().folder, "secret")
    said.extend(trail(caught.value))
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert kaggle.calls[-1].authorization == sent
    assert ("Not good: …" in str(caught.value)) == (fault == "refused")
