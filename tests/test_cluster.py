"""Workers are killed in the middle of their jobs, and the results equal those of the same commands left alone.

What must be equal, byte for byte: the file of labels; bit for bit: weights, curves and probabilities. Then what a user
can get wrong, and who is refused.
"""
import datetime
import os
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import psutil
import pytest

from digit_recognizer.runs.export import export_run
from digit_recognizer.runs.folder import load_run, pretrained_run
from processes import assert_same_run, checkpoints, children, run, start, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.xdist_group("cluster")]
CHUNKS = 24


@pytest.fixture(scope="module")
def job(csv_digits, tmp_path_factory):
    "A run, many files to predict, and the answers of the plain command."
    tmp = tmp_path_factory.mktemp("cluster")
    folder, many, serial = shutil.copytree(pretrained_run().folder, tmp / "run"), tmp / "many", tmp / "serial.csv"
    export_run(load_run(folder))
    many.mkdir()
    for i in range(CHUNKS):
        shutil.copy(csv_digits / "test.csv", many / f"{i}.csv")
    told = run(["predict", folder, many, "--out", serial, "--quiet"])
    assert told.returncode == 0, told.stderr
    return SimpleNamespace(run=folder, many=many, answers=serial.read_bytes(), words=["predict", folder, many, "--quiet", "--out"])


@contextmanager
def scheduler_and_workers(folder, environments, environ=None, *options):
    "A scheduler and workers, as a user starts them, each worker with the environment it is given."
    quiet = dict(stdout=subprocess.DEVNULL, cwd=folder)
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", *options]
    scheduler = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environ, **quiet)
    address = next(line.split()[-1] for line in scheduler.stderr if "Scheduler at" in line)
    workers = [subprocess.Popen([sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"],
                                stderr=subprocess.DEVNULL, env=environ, **quiet) for environ in environments]
    try:
        yield address, workers, scheduler
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()


def finished_chunks(out):
    "How many chunks of a prediction are done."
    return len(list(out.with_name(f".{out.name}.part").glob("*.npy")))


def wait_for_chunks(out, process):
    "Wait until some chunks are done, and not all."
    wait_for("a finished chunk", lambda: finished_chunks(out) > 1, process)
    assert finished_chunks(out) < CHUNKS


def test_local_worker_killed(job, tmp_path):
    out = tmp_path / "labels.csv"
    process = start([*job.words, out, "--workers", 2], stdout=subprocess.DEVNULL)
    wait_for_chunks(out, process)
    children(process.pid)[0].kill()
    assert process.wait() == 0
    assert out.read_bytes() == job.answers


def test_scheduler_s_worker_killed(job, tmp_path):
    out = tmp_path / "labels.csv"
    with scheduler_and_workers(tmp_path, [None, None]) as (address, workers, _):
        process = start([*job.words, out, "--dask", address], stdout=subprocess.DEVNULL)
        wait_for_chunks(out, process)
        workers[0].kill()
        assert process.wait() == 0
    assert out.read_bytes() == job.answers


def test_scheduler_killed(job, tmp_path):
    out = tmp_path / "labels.csv"
    with scheduler_and_workers(tmp_path, [None]) as (address, _, scheduler):
        process = start([*job.words, out, "--dask", address], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        wait_for_chunks(out, process)
        scheduler.kill()
        said = process.communicate()[1].strip()
    assert process.returncode == 2 and said.startswith("error: the Dask scheduler was lost") and said.count("\n") == 0, said
    assert run([*job.words, out]).returncode == 0
    assert out.read_bytes() == job.answers


def test_interrupted_by_ctrl_c(job, tmp_path):
    def hear_interrupts():  # a shell that runs the tests in the background lets SIGINT be ignored
        signal.signal(signal.SIGINT, signal.default_int_handler)

    out = tmp_path / "labels.csv"
    process = start([*job.words, out, "--workers", 2], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
                    preexec_fn=hear_interrupts)
    wait_for_chunks(out, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    said = process.communicate()[1].strip()
    assert process.returncode == 130 and "Traceback" not in said and said.startswith("interrupted: finished predictions are kept"), said
    assert run([*job.words, out]).returncode == 0
    assert out.read_bytes() == job.answers


def test_command_killed(job, tmp_path):
    out = tmp_path / "labels.csv"
    process = start([*job.words, out, "--workers", 2], stdout=subprocess.DEVNULL)
    wait_for_chunks(out, process)
    left = children(process.pid)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while any(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE for worker in left):
        assert time.monotonic() < deadline, "a worker outlives its command"
        time.sleep(0.05)
    assert run([*job.words, out]).returncode == 0
    assert out.read_bytes() == job.answers


def test_bad_row_does_not_cost_the_other_chunks(job, tmp_path):
    many = shutil.copytree(job.many, tmp_path / "many")
    whole, out = (many / "7.csv").read_bytes(), tmp_path / "labels.csv"
    (many / "7.csv").write_bytes(whole.replace(b"\n0,", b"\n0,999,", 1))
    words = ["predict", job.run, many, "--out", out, "--quiet", "--workers", 2]
    told = run(words)
    assert told.returncode == 2 and "7.csv: line 2 has 785 cells" in told.stderr and not out.exists(), told.stderr
    assert finished_chunks(out) == CHUNKS - 1
    (many / "7.csv").write_bytes(whole)
    assert run(words).returncode == 0
    assert out.read_bytes() == job.answers


def test_worker_killed_in_a_fold(csv_digits, tmp_path):
    words = ["run", "--data", csv_digits, "--recipe", "tiny", "--set", "epochs=6", "--members", 2, "--threads", 1, "--quiet", "--no-report", "--out"]
    told = run([*words, tmp_path / "serial"])
    assert told.returncode == 0, told.stderr
    process = start([*words, tmp_path / "killed", "--workers", 2], stdout=subprocess.DEVNULL)
    wait_for("a checkpoint", lambda: checkpoints(tmp_path / "killed"), process)
    children(process.pid)[0].kill()
    assert process.wait() == 0
    for name in (".", "members/0", "members/1"):
        assert_same_run(load_run(tmp_path / "killed" / name), load_run(tmp_path / "serial" / name))


WITHOUT_PACKAGE = """import sys
class NotHere:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] == 'digit_recognizer': raise ModuleNotFoundError(f'No module named {name!r}', name=name)
sys.meta_path.insert(0, NotHere())
import importlib.metadata as metadata
version = metadata.version
def without(name):
    if name == 'digit_recognizer': raise metadata.PackageNotFoundError(name)
    return version(name)
metadata.version = without
"""
OTHER_VERSION = """import importlib.metadata as metadata
version = metadata.version
metadata.version = lambda name: '0.0.9' if name == 'digit_recognizer' else version(name)
import digit_recognizer
digit_recognizer.__version__ = '0.0.9'
"""


@pytest.mark.parametrize("sitecustomize, expected", [
    (WITHOUT_PACKAGE, ["has digit_recognizer not at all (here", "install the same versions there"]),
    (OTHER_VERSION, ["has digit_recognizer 0.0.9 (here"]),
    (None, ["has no worker; start one on each machine by: dask worker"]),
    ("nobody", ["no Dask scheduler answers at tcp://127.0.0.1:9"])])
def test_unusable_clusters_are_refused_in_one_line(sitecustomize, expected, job, tmp_path):
    out = tmp_path / "labels.csv"
    if sitecustomize == "nobody":
        told = run([*job.words, out, "--dask", "tcp://127.0.0.1:9"])
    else:
        (tmp_path / "sitecustomize.py").write_text(sitecustomize or "")
        environments = [{**os.environ, "PYTHONPATH": str(tmp_path)}] if sitecustomize else []
        with scheduler_and_workers(tmp_path, environments) as (address, *_):
            told = run([*job.words, out, "--dask", address])
    line = told.stderr.strip()
    assert told.returncode == 2 and line.count("\n") == 0, told.stderr
    assert all(word in line for word in expected), line
    assert not [path.name for path in tmp_path.iterdir() if "labels" in path.name], "something is left"


def listeners(pid):
    "Where a command and its workers listen: host and port."
    return {connection.laddr for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
            for connection in process.net_connections() if connection.status == psutil.CONN_LISTEN}


def answers(address, context=None):
    "Does a port give an answer to a handshake of Dask, by TLS where there is a context?"
    try:
        with socket.create_connection(address, timeout=3) as plain:
            with (context.wrap_socket(plain) if context else plain) as s:
                s.sendall(b"\x01" + b"\0" * 7)  # a message of no frames
                return bool(s.recv(1))
    except (OSError, ssl.SSLError):
        return False


def speaks_tls(address):
    "Does a port begin a conversation by TLS?"
    with suppress(OSError), socket.create_connection(address, timeout=3) as plain, bare_context().wrap_socket(plain):
        return True
    return False


def strange_context():
    "TLS with a certificate that another user made, and that takes any of the others'."
    from distributed.security import Security

    context = Security.temporary().get_connection_args("client")["ssl_context"]
    context.verify_mode = ssl.CERT_NONE
    return context


def bare_context():
    "TLS without a certificate of one's own."
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def secrets_below(folder):
    "Files that others could read and that hold a key or a certificate; and all that hold a key."
    found = []
    for path in folder.rglob("*"):
        with suppress(OSError):
            if path.is_file() and b"PRIVATE KEY" in path.read_bytes():
                private = any(not stat.S_IMODE(p.stat().st_mode) & 0o077 for p in (path, *path.parents) if p.is_relative_to(folder))
                found.append((path.name, private))
    return found


def test_local_workers_refuse_strangers(tmp_path, monkeypatch):
    "Every port of this process and its workers is on 127.0.0.1, and gives nothing to plain, bare or strange connections."
    from digit_recognizer.scale.cluster import dask_cluster

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen, before, by_tls = [], listeners(os.getpid()), 0
    watcher = threading.Thread(target=lambda: [seen.extend(secrets_below(tmp_path)) or time.sleep(0.002) for _ in range(1500)], daemon=True)
    watcher.start()
    with dask_cluster(workers=2) as cluster:
        ports, workers = listeners(os.getpid()) - before, children(os.getpid())
        assert len(workers) == 2 and {host for host, _ in ports} == {"127.0.0.1"}, ports
        assert not any("PRIVATE KEY" in text for p in workers for text in (*p.cmdline(), *p.environ().values()))
        for address in ports:
            assert not answers(address, strange_context()) and not answers(address, bare_context()) and not answers(address), address
            by_tls += speaks_tls(address)
        assert by_tls == 5, "a scheduler, two workers, two nannies"
        assert dict(cluster.map(divmod, [(2,)], int)) == {(2,): (0, 0)}
    assert all(private for _, private in seen), seen
    assert secrets_below(tmp_path) == [], "a key is left"


def make_certificates(folder):
    "A certificate authority, and a key and a certificate that it has signed, as PEM files."
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    def name(text):
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    keys, now = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)], datetime.datetime(2020, 1, 1)
    for i, file in enumerate(("ca", "cluster")):
        built = (x509.CertificateBuilder().subject_name(name(file)).issuer_name(name("ca")).public_key(keys[i].public_key())
                 .serial_number(i + 1).not_valid_before(now).not_valid_after(datetime.datetime(2120, 1, 1))
                 .add_extension(x509.BasicConstraints(ca=not i, path_length=None), critical=True).sign(keys[0], hashes.SHA256()))
        (folder / f"{file}.pem").write_bytes(built.public_bytes(serialization.Encoding.PEM))
    (folder / "cluster.key").write_bytes(keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


def tls_settings(folder):
    "Dask's own configuration of TLS, as environment variables."
    prefix, pair = "DASK_DISTRIBUTED__COMM__", {"CERT": "cluster.pem", "KEY": "cluster.key"}
    return {f"{prefix}TLS__CA_FILE": str(folder / "ca.pem"), f"{prefix}REQUIRE_ENCRYPTION": "true",
            **{f"{prefix}TLS__{role}__{kind}": str(folder / file) for role in ("SCHEDULER", "WORKER", "CLIENT") for kind, file in pair.items()}}


def test_cluster_with_tls_of_its_own(job, tmp_path):
    "`--dask tls://...` takes the certificates from Dask's configuration; without them, or with others, it is refused in one line."
    folders = [tmp_path / "ours", tmp_path / "others"]
    for folder in folders:
        folder.mkdir()
        make_certificates(folder)
    ours, others = ({**os.environ, **tls_settings(folder)} for folder in folders)
    out = tmp_path / "labels.csv"
    with scheduler_and_workers(tmp_path, [ours], ours, "--protocol", "tls") as (address, *_):
        assert address.startswith("tls://127.0.0.1:")
        for environ, where, expected in (
                (None, address, "name its certificates in Dask's configuration, by distributed.comm.tls"),
                (others, address, "name its certificates in Dask's configuration, by distributed.comm.tls"),
                (ours, address.replace("tls:", "tcp:"), "give the address that it printed")):
            told = run([*job.words, out, "--dask", where], env=environ)
            line = told.stderr.strip()
            assert told.returncode == 2 and line.count("\n") == 0 and expected in line, told.stderr
        told = run([*job.words, out, "--dask", address], env=ours)
        assert told.returncode == 0, told.stderr
    assert out.read_bytes() == job.answers
