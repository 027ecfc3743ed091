"""A fake Kaggle on this machine, for tests/test_kaggle.py and the pages nbs/core/kaggle and nbs/runs/upload.

`start_kaggle(home, archive)` starts it, sends Kaggle's clients to it, and gives them a home folder of their own, so that
they find no real credentials. Meanwhile this process can reach no other machine.
"""

import io
import json
import os
import shutil
import socket
import zipfile
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from threading import Thread
from time import sleep
from typing import Any, Callable, Iterator, NamedTuple
from unittest.mock import patch
from urllib.parse import urlsplit

import numpy as np
import pandas as pd

from digit_recognizer.core.mnist import deal_mnist
from digit_recognizer.data import Digits, export_csv
from digit_recognizer.evaluate import Score
from digit_recognizer.runs.folder import Run, save_run
from digit_recognizer.submit import write_submission

TOKEN = "KGAT_this-is-the-secret"
NOWHERE = "http://127.0.0.1:9"  # nothing listens there
SUBMISSION = 4242  # the number that the fake Kaggle gives a submission
SCORE = "0.99642"  # what it scores


# The servers


class Call(NamedTuple):
    "One request that a fake Kaggle has received."

    server: str  # `api` or `storage`
    name: str  # of the API's method; `GET`, `GET the rest` or `PUT` for the storage
    authorization: str | None  # the header of that name
    sent: bytes  # the body


class FakeKaggle:
    """Kaggle as its clients see it: an API, which gets the token, and a storage on another port, which must not get it.

    `faults` gives a call another answer than the usual one: a status with a body (a dictionary becomes JSON, text a web
    page), or `silent` (closes the connection without an answer), `late` (answers after the time limit) or `short` (stops
    in the middle of the body)."""

    def __init__(
        self,
        archive: bytes,  # the zip file to offer
    ):
        self.archive, self.dated, self.pending = archive, True, 0
        self.faults: dict[str, Any] = {}
        self.calls: list[Call] = []
        self.blocked: list[str] = []
        self.uploaded = b""
        self.servers = {
            name: ThreadingHTTPServer(("127.0.0.1", 0), _make_handler(self, name)) for name in ("api", "storage")
        }
        for server in self.servers.values():
            Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def names(self) -> list[str]:
        "The names of the calls so far."
        return [call.name for call in self.calls]

    def url(
        self,
        server: str,  # `api` or `storage`
    ) -> str:
        "The address of a server."
        return f"http://127.0.0.1:{self.servers[server].server_port}"

    def close(self):
        "Stop both servers."
        for server in self.servers.values():
            server.shutdown()
            server.server_close()

    def usual_answer(
        self,
        name: str,  # of a call
        start: int,  # the first byte of the archive that is wanted
    ) -> tuple[int, dict, bytes]:  # status, headers and body
        "The answer where nothing is wrong."
        zipped = {"Content-Type": "application/zip"}
        if name == "DownloadDataFiles":
            return 302, {"Location": f"{self.url('storage')}/files.zip?Signature=signed"}, b""
        if name == "GET the rest":
            return 206, zipped, self.archive[start:]
        if name == "GET":
            dated = {"Last-Modified": "Mon, 10 Dec 2018 00:00:00 GMT"} if self.dated else {}
            return 200, {**zipped, **dated, "Accept-Ranges": "bytes"}, self.archive
        return 200, {"Content-Type": "application/json"}, json.dumps(self.usual_body(name)).encode()

    def usual_body(
        self,
        name: str,  # of a call that is answered with JSON
    ) -> dict:
        "What the answer says where nothing is wrong; the first `pending` questions for a score come too early."
        if name == "GetSubmission" and self.pending > 0:
            self.pending -= 1
            return {"ref": SUBMISSION, "status": "PENDING"}
        answers: dict[str, dict] = {
            "StartSubmissionUpload": {"token": "blob-7", "createUrl": f"{self.url('storage')}/upload?upload_id=signed"},
            "GetSubmissionLimits": {"numToday": 1, "numTotal": 3, "numAllowedNow": 9},
            "CreateSubmission": {"message": "Successfully submitted to Digit Recognizer", "ref": SUBMISSION},
            "GetSubmission": {"ref": SUBMISSION, "status": "COMPLETE", "publicScore": SCORE},
            "PUT": {},
        }
        return answers[name]


def _make_handler(
    kaggle: FakeKaggle,  # what answers
    server: str,  # `api` or `storage`
) -> type[BaseHTTPRequestHandler]:
    "The class that speaks HTTP for a server."

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_POST(self):
            self.answer(urlsplit(self.path).path.split("/")[-1])

        def do_GET(self):
            self.answer("GET the rest" if "Range" in self.headers else "GET")

        def do_PUT(self):
            self.answer("PUT")

        def answer(self, name):
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            kaggle.calls.append(Call(server, name, self.headers.get("Authorization"), sent))
            if name == "PUT":
                kaggle.uploaded = sent
            fault = kaggle.faults.get(name)
            if fault == "late":
                sleep(1)
            if fault not in ("late", "silent"):
                self.send(name, fault)

        def send(self, name, fault):
            start = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-")
            status, headers, body = (
                _faulty_answer(*fault) if isinstance(fault, tuple) else kaggle.usual_answer(name, int(start))
            )
            self.send_response(status)
            for key, value in {**headers, "Content-Length": len(body)}.items():
                self.send_header(key, str(value))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if fault == "short" else body)

    return Handler


def _faulty_answer(
    status: int,  # of HTTP
    body: dict | str,  # JSON, or a web page
) -> tuple[int, dict, bytes]:  # status, headers and body
    "The answer for a fault that is a status with a body."
    if isinstance(body, str):
        return status, {"Content-Type": "text/html"}, body.encode()
    return status, {"Content-Type": "application/json"}, json.dumps(body).encode()


# The sandbox


@contextmanager
def block_network() -> Iterator[list[str]]:  # the hosts that were asked for and refused
    "Let this process look up no name and open no connection beyond this machine."
    blocked: list[str] = []

    def guard(act: Callable, host_of: Callable) -> Callable:
        def guarded(*args, **options):
            host = host_of(*args)
            if host not in {"127.0.0.1", "::1", "localhost", None}:
                blocked.append(host)
                raise RuntimeError(f"a test may not reach {host}")
            return act(*args, **options)

        return guarded

    def connected(s, address, *_):
        return address[0] if s.family in (socket.AF_INET, socket.AF_INET6) else None

    with ExitStack() as stack:
        for name in ("connect", "connect_ex"):
            stack.enter_context(patch.object(socket.socket, name, guard(getattr(socket.socket, name), connected)))
        stack.enter_context(patch("socket.getaddrinfo", guard(socket.getaddrinfo, lambda host, *_: host)))
        yield blocked


@contextmanager
def kaggle_home(
    home: Path,  # a folder
) -> Iterator[None]:
    "Let Kaggle's clients find `TOKEN` and nothing of the user's: no credentials, no cache, no proxy."
    kept = {
        name: value
        for name, value in os.environ.items()
        if "KAGGLE" not in name and not name.lower().endswith("_proxy")
    }
    own = {
        "HOME": str(home),
        "USERPROFILE": str(home),
        "NO_PROXY": "*",
        "KAGGLE_CONFIG_DIR": str(home / ".kaggle"),
        "KAGGLEHUB_CACHE": str(home / "cache"),
        "KAGGLE_API_TOKEN": TOKEN,
    }
    with patch.dict(os.environ, {**kept, **own}, clear=True):
        yield


@contextmanager
def _send_clients_to(
    url: str,  # of an API
) -> Iterator[None]:
    "Replace all addresses in Kaggle's client."
    from kagglesdk.kaggle_env import KaggleEnv, _env_to_endpoint

    with patch.dict(_env_to_endpoint, dict.fromkeys(KaggleEnv, url)):
        yield


@contextmanager
def start_kaggle(
    home: Path,  # a folder: the home of Kaggle's clients
    archive: bytes,  # the zip file to offer
) -> Iterator[FakeKaggle]:
    "A fake Kaggle in the place of the real one, with the network blocked."
    with block_network() as blocked, kaggle_home(home):
        kaggle = FakeKaggle(archive)
        kaggle.blocked = blocked
        try:
            with _send_clients_to(kaggle.url("api")):
                yield kaggle
        finally:
            kaggle.close()


@dataclass(frozen=True)
class Fault:
    "Something that is wrong between this machine and Kaggle."

    calls: dict = field(default_factory=dict)  # name of a call -> what `FakeKaggle.faults` takes
    env: dict = field(default_factory=dict)  # environment variable -> value
    missing: tuple = ()  # packages that cannot be imported
    url: str | None = None  # where the client looks for Kaggle
    change_archive: Callable | None = None  # the usual zip file -> what the storage sends
    kaggle_json: str | None = None  # what stands in the file of the older credentials

    @contextmanager
    def apply(
        self,
        kaggle: FakeKaggle,  # to which it happens
    ) -> Iterator[None]:
        "Within this context the fault is there."
        usual, older = kaggle.archive, Path(os.environ["KAGGLE_CONFIG_DIR"]) / "kaggle.json"
        kaggle.faults, kaggle.archive = self.calls, self.change_archive(usual) if self.change_archive else usual
        if self.kaggle_json:
            older.parent.mkdir(exist_ok=True)
            older.write_text(self.kaggle_json)
        try:
            with (
                patch.dict(os.environ, self.env),
                patch.dict("sys.modules", dict.fromkeys(self.missing)),
                _send_clients_to(self.url or kaggle.url("api")),
            ):
                yield
        finally:
            kaggle.faults, kaggle.archive = {}, usual
            older.unlink(missing_ok=True)


def refuse(
    call: str,  # its name
    status: int,  # of HTTP
    message: str | None = None,  # Kaggle's; by default the status in words
) -> Fault:
    "Kaggle answers a call with an error."
    return Fault({call: (status, {"code": status, "message": message or HTTPStatus(status).phrase})})


# Digits, runs and commands


def few_digits() -> Digits:  # 20 labelled, 20 held out
    "A few digits of another deal than the embedded one, as Kaggle's are."
    x, y, x_test, y_test = deal_mnist(1)
    return Digits(x[:20], y[:20], x_test[:20], y_test[:20], "csv")


def zip_digits(
    digits: Digits,  # labelled and held out
    folder: Path,  # where to write
) -> bytes:  # of a zip file
    "The competition's zip file with other digits."
    return Path(
        shutil.make_archive(str(folder / "digit-recognizer"), "zip", export_csv(digits, folder / "digits"))
    ).read_bytes()


class NoModel:
    "Stands in for a model where only the answers of a run matter: its one layer is of an unknown kind."

    name = "none"

    def __init__(self):
        self._inbound_nodes = [SimpleNamespace(input_tensors=[], arguments=SimpleNamespace(args=()))]
        self.inputs, self.outputs = [None], [SimpleNamespace(_keras_history=(self, 0, 0))]

    def save(self, path):
        with zipfile.ZipFile(path, "w") as z:
            z.writestr("config.json", "{}")


def make_run(
    folder: Path,  # replaced if it exists
    rehearsal: bool = False,  # was its model trained on MNIST?
    copies: int = 0,  # how many digits to predict are copies of labelled ones?
) -> Run:
    "A run with 28,000 random answers and without a model."
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    labels = np.random.default_rng(0).integers(0, 10, 28_000)
    write_submission(labels, folder / "submission.csv")
    counts = {"compared": 28_000, "among": 42_000, "exact": copies, "near": 0, "within": 4.0, "share": copies / 28_000}
    data = {"source": "csv", "fingerprint": "0" * 64, "rehearsal": rehearsal, "labelled": 42_000, "held_out": 28_000}
    info = {
        "created": "2026-01-01T00:00:00+00:00",
        "recipe": {"name": "tiny", "seed": 0},
        "data": {**data, "copies": counts, "corrections": {}},
        "scores": {"validation": Score(1, 0).to_dict(), "held_out": None},
        "training": {"epochs": 1, "parameters": 1, "seconds": 1.0, "cpu_seconds": 1.0, "images_per_second": 1},
        "environment": {},
    }
    validation = {"rows": [0], "y": [0], "proba": np.eye(10)[:1]}
    curve = pd.DataFrame({"epoch": [1]})
    with redirect_stderr(io.StringIO()):  # which says that network.json is missing
        return save_run(folder, NoModel(), curve, validation, np.eye(10, dtype=np.float32)[labels], info)


def edit_submission(
    run: Run,  # a run
    change: Callable,  # bytes of submission.csv -> other bytes
) -> Run:
    "The same run with another submission.csv."
    path = run.folder / "submission.csv"
    path.write_bytes(change(path.read_bytes()))
    return run


def change_label(
    data: bytes,  # of submission.csv
) -> bytes:
    "Another label for image 7."
    lines = data.split(b"\n")
    lines[7] = b"7,%d" % ((int(lines[7][-1:]) + 1) % 10)
    return b"\n".join(lines)


def run_command(
    *words,  # of the command line
) -> tuple[int, str, str]:  # exit code, standard output, standard error
    "Run a command, with short waits and time limits."
    from digit_recognizer.cli import main

    out, err = io.StringIO(), io.StringIO()
    with (
        redirect_stdout(out),
        redirect_stderr(err),
        patch("digit_recognizer.runs.upload.WAITS", (0, 0)),
        patch("digit_recognizer.core.kaggle.TIMEOUT", (1, 0.5)),
    ):
        try:
            main(list(map(str, words)))
        except SystemExit as e:
            code = int(e.code or 0)
    return code, out.getvalue(), err.getvalue()
