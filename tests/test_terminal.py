"""What the terminal shows and what the disk is left with: odd names, encodings, closed pipes, pipes as files, full disks, leftovers.

Commands run in a fresh process where their start matters (encodings, pipes); everything else runs in this process.
"""
import csv
import fcntl
import io
import os
import platform
import pty
import resource
import shlex
import socket
import struct
import subprocess
import sys
import termios
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digit_recognizer import cli
from digit_recognizer.core import files
from digit_recognizer.core.console import escape, safe_cell, safe_output, say, shell_quote
from digit_recognizer.core.files import InputError, atomic_folder, atomic_write, check_file, remove_temporary, unchanged
from digit_recognizer.core.recipe import RECIPES
from digit_recognizer.runs.folder import pretrained_run
from processes import PROGRAM, no_hang, run

GOOD = "ImageId,Label\n1,2\n"
ODD_NAMES = [os.fsdecode(b"caf\xe9.csv"), "a\x1b[31mb\nc.csv", "\u202egnp.csv", "\r.csv", "数字 \x7f.csv", "=1+1\t.csv"]
texts = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=30)  # with lone surrogates
names = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=30) | st.binary(min_size=1, max_size=30).map(
    lambda name: os.fsdecode(name.translate(None, b"/\0") or b"_")
)


def typed(*words):
    "A command in this process: exit code, standard output, standard error."
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        cli.main(list(map(str, words)))
    return ended.value.code, out.getvalue(), err.getvalue()


# Text ---------------------------------------------------------------------------------------------------------------


@given(texts | names)
def test_escaped_text_is_one_line_that_can_be_shown(name):
    shown = escape(name)
    assert shown.isprintable() and shown.encode() and escape(shown) == shown
    assert shell_quote(name).isprintable() and (not name.isprintable() or shown == name)


@given(st.lists(names, min_size=60, max_size=60))
@settings(max_examples=4, deadline=None)
def test_a_quoted_path_is_the_same_path_for_the_shell(paths):
    words = [shell_quote(path) for path in paths]
    assert all(word.isprintable() for word in words)
    typed = subprocess.run(["bash", "-c", f"printf '%s\\0' {' '.join(words)}"], capture_output=True, check=True).stdout
    for path, name in zip(paths, typed.split(b"\0"), strict=False):
        assert os.path.normpath(os.fsencode(path)) == os.path.normpath(name)
        assert not name.startswith(b"-")


@given(texts | names)
def test_a_cell_is_never_a_formula(name):
    for text in (name, "=" + name, "\t+" + name, " -" + name, name + ";=1", name + "; @x"):
        file = io.StringIO(newline="")
        csv.writer(file).writerow([safe_cell(text)])
        (row,) = csv.reader(io.StringIO(file.getvalue(), newline=""))
        for cell in row[0].split(";"):
            assert not cell.strip().startswith(("=", "+", "-", "@", "＝")), cell
        assert file.getvalue().encode() and "\n" not in row[0]
    if name.isprintable() and name[0].isalnum() and ";" not in name:
        assert safe_cell(name) == name


# Standard output ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "ascii", "C"])
def test_an_encoding_without_the_character(encoding, tmp_path):
    (tmp_path / "数字 ×.csv").write_text(GOOD)
    change = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"} if encoding == "C" else {"PYTHONIOENCODING": encoding}
    environ, codec = {**os.environ, **change}, "ascii" if encoding == "C" else encoding
    for words in (["check", tmp_path / "数字 ×.csv", "--rows", "1"], ["check", tmp_path / "数.csv"], ["run", "--help"]):
        told = subprocess.run([*PROGRAM, *map(str, words)], capture_output=True, env=environ)
        out, err = told.stdout.decode(codec), told.stderr.decode(codec)
        assert "Traceback" not in err and told.returncode == (2 if "数.csv" in str(words[-1]) else 0), err
    assert "--recipe" in out


def test_names_that_are_not_text(tmp_path):
    for name in ODD_NAMES:
        (tmp_path / name).write_text(GOOD)
        code, out, err = typed("check", tmp_path / name, "--rows", 1)
        assert (code, err, out.count("\n")) == (0, "", 1) and out[:-1].isprintable(), name
        code, out, err = typed("check", tmp_path / name / "gone", "--rows", 1)
        assert (code, out, err.count("\n")) == (2, "", 1) and err[:-1].isprintable(), name
    code, out, err = typed("verify", tmp_path, "--fast\x1b]0;x\x07\n")
    assert (code, err.count("\n")) == (2, 1) and err[:-1].isprintable()


def test_a_name_that_is_not_utf8_in_a_fresh_process(tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9\n.csv"
    Path(os.fsdecode(path)).write_text(GOOD)
    told = subprocess.run([*PROGRAM, "check", path, "--rows", "1"], capture_output=True)
    assert told.returncode == 0 and rb"caf\xe9\n.csv: fine" in told.stdout, told.stderr


@pytest.mark.parametrize("words, code", [(["run", "--help"], 0), (["check", "bad.csv"], 2), (["verify", "--none"], 2)])
def test_a_reader_that_stops_early(words, code, tmp_path):
    (tmp_path / "bad.csv").write_text("ImageId,Label\n" + "1,x\n" * 5000)
    shell = '"$@" 2>&1 | (exec 0<&-; sleep .1); echo ${PIPESTATUS[0]}'
    told = subprocess.run(["bash", "-c", shell, "bash", *PROGRAM, *words], capture_output=True, text=True, cwd=tmp_path)
    assert (told.stdout, told.stderr) == (f"{code}\n", "")


def test_standard_output_is_missing_or_full(tmp_path):
    (tmp_path / "good.csv").write_text(GOOD)
    command = f"{shlex.join([*PROGRAM, 'check', str(tmp_path / 'good.csv')])} --rows 1"
    told = subprocess.run(["bash", "-c", f"{command} >&- 2>&-"], capture_output=True, text=True)
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")
    told = subprocess.run(["bash", "-c", f"{command} > /dev/full"], capture_output=True, text=True)
    assert (told.returncode, told.stderr) == (2, "error: standard output: No space left on device\n")


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_no_file_gets_the_number_of_a_closed_stream(closed, tmp_path):
    "What TensorFlow prints goes to stream 2 by its number."
    program = f"""
import os
from digit_recognizer.core.console import safe_output
with safe_output(), open({str(tmp_path / "out.csv")!r}, "w") as f:
    f.write("7"); f.flush(); os.write(2, b"a warning")"""
    subprocess.run(["bash", "-c", f'"$0" -c "$1" {closed}', sys.executable, program], check=True)
    assert (tmp_path / "out.csv").read_text() == "7"


def test_an_odd_message_of_the_system_is_one_line():
    out = io.StringIO()
    with redirect_stdout(out), safe_output():
        say("a\x1b[2J\udcff\nb")
    assert out.getvalue() == "a\\x1b[2J\\xff\nb\n"


@pytest.mark.parametrize("name", ["my run; rm -rf x", "-run", "$(id)", "two\nlines", os.fsdecode(b"caf\xe9")])
def test_commands_that_are_printed_can_be_pasted(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    (Path(name) / "plan.json").write_text("{}")
    recipe = RECIPES["tiny"]
    with redirect_stderr(io.StringIO()) as told, pytest.raises(SystemExit), cli._resumable(Path(name), recipe):
        raise KeyboardInterrupt
    with pytest.raises(InputError) as failed, cli._resumable(Path(name), recipe):
        raise OSError(28, "No space left on device")
    for line in (told.getvalue().strip(), str(failed.value)):
        assert line.isprintable()
        command = line.split("resume with: digit_recognizer ")[1]
        words = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True).stdout.split(b"\0")
        assert words[:2] == [b"run", b"--resume"]
        assert os.path.normpath(words[2]) == os.path.normpath(os.fsencode(name)) and not words[2].startswith(b"-")


# Colours and progress bars ------------------------------------------------------------------------------------------


def on_a_terminal(words, **environ):
    "What a command shows on a terminal of its own, and its exit code."
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environ = {**os.environ, "TERM": "xterm-256color", **environ}
    process = subprocess.Popen([*PROGRAM, *map(str, words)], stdin=side, stdout=side, stderr=side, env=environ)
    os.close(side)
    shown = b""
    with no_hang():
        while True:
            try:
                more = os.read(main, 4096)
            except OSError:  # Linux, where the other side is closed
                more = b""
            if not more:
                break
            shown += more
        code = process.wait()
    os.close(main)
    return shown.decode(), code


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {}, {"FORCE_COLOR": "1"}], ids=["NO_COLOR", "default", "FORCE_COLOR"])
@pytest.mark.parametrize("words, code", [(["--help"], 0), (["run", "--recipe", "slow"], 2), (["run", "--seed", "x"], 2), (["--install-completion", "bash"], 0)])
def test_nothing_is_coloured(words, code, environ, tmp_path):
    shown, ended = on_a_terminal(words, HOME=str(tmp_path), **environ)
    assert (ended, "\x1b" in shown) == (code, False) and shown.strip(), shown


def test_a_progress_bar_is_for_terminals_only(root):
    sheet = root / "nbs/samples/sheet.png"
    told = run(["read", sheet])
    assert (told.returncode, told.stderr) == (0, "") and "30 free digits" in told.stdout
    shown, code = on_a_terminal(["read", sheet], NO_COLOR="1")
    assert code == 0 and "reading: 100%" in shown and "30 free digits" in shown
    assert "%" not in on_a_terminal(["read", sheet, "--quiet"])[0]


# Completion ---------------------------------------------------------------------------------------------------------


def offered(line, program):
    "What bash offers for a line, by the script that the program prints."
    shell = """source <("$0" --show-completion bash)
_digit_recognizer_completion "$0"
printf '%s\\n' "${COMPREPLY[@]}" """
    words = line.split(" ")
    start = f"COMP_WORDS=({shlex.join(words)}) COMP_CWORD={len(words) - 1}\n"
    told = subprocess.run(["bash", "-c", start + shell, program], capture_output=True, text=True)
    assert (told.returncode, told.stderr) == (0, "")
    return told.stdout.split()


def test_bash_completes_commands_options_and_values(tmp_path):
    program = tmp_path / "digit_recognizer"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(PROGRAM)} "$@"\n')
    program.chmod(0o755)
    values = {"ver": "verify", "read --js": "--json", "run --data e": "embedded", "run --strategy m": "mirrored", "export x --to o": "onnx"}
    values |= {"run --recipe ": " ".join(RECIPES), "sweep --recipe t": "tiny", "run --data nowhere": ""}  # '': bash completes files
    assert {words: " ".join(offered(f"digit_recognizer {words}", program)) for words in values} == values


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_every_shell_has_a_script(shell):
    told = run(["--show-completion", shell])
    assert told.returncode == 0 and "_DIGIT_RECOGNIZER_COMPLETE" in told.stdout and told.stderr == ""


def test_completion_needs_no_large_package():
    code = """import sys
from digit_recognizer.cli import main
try: main()
except SystemExit: print(sorted({"tensorflow", "keras", "numpy", "pandas", "plotly", "scipy", "rich"} & set(sys.modules)))"""
    environ = {**os.environ, "_DIGIT_RECOGNIZER_COMPLETE": "complete_bash", "COMP_WORDS": "digit_recognizer run --recipe ", "COMP_CWORD": "3"}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ, check=True)
    assert told.stdout.split("\n")[:-2] == list(RECIPES) and told.stdout.split("\n")[-2] == "[]"


# Files that are none ------------------------------------------------------------------------------------------------


@pytest.fixture()
def special(tmp_path):
    "A pipe, a socket and a device."
    os.mkfifo(tmp_path / "pipe.csv")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(tmp_path)  # a path of a socket must be short
        server.bind("socket.csv")
        os.chdir(here)
        yield {"a pipe": tmp_path / "pipe.csv", "a socket": tmp_path / "socket.csv", "a device": Path("/dev/zero")}


def test_special_files_are_refused_unopened(special):
    for kind, path in special.items():
        with no_hang(), pytest.raises(InputError, match=f"is {kind}, expected a file; save what it gives"):
            check_file(path)


def test_no_command_waits_for_a_pipe(special, root, tmp_path):
    pipe, model = special["a pipe"], pretrained_run().folder
    commands = [["check", pipe], ["check", special["a device"]], ["predict", model, pipe, "--out", tmp_path / "out.csv"], ["read", pipe]]
    commands += [["predict", model, "x.csv", "--out", pipe], ["run", "--data", pipe], ["run", "--resume", pipe], ["report", pipe]]
    commands += [["run", "--recipe", "tiny", "--corrections", pipe], ["sweep", "--data", pipe], ["verify", pipe], ["export-csv", pipe]]
    commands += [["read", root / "nbs/samples/sheet.png", "--csv", pipe], ["audit", model, "--out", pipe], ["compare", pipe, pipe]]
    before = sorted(tmp_path.rglob("*"))
    for words in commands:
        with no_hang():
            code, out, err = typed(*words)
        assert (code, err.count("error: ")) == (2, 1), (words, err)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_stream_is_read_where_that_can_be(tmp_path):
    (tmp_path / "good.csv").write_text(GOOD)
    told = run(["check", "/dev/stdin", "--rows", 1], input=GOOD)
    assert (told.returncode, told.stdout) == (0, "/dev/stdin: fine, 1 predictions\n"), told.stderr
    told = run(["check", "/dev/stdin", "--rows", 2], input=GOOD)
    assert told.returncode == 2 and told.stderr.startswith("/dev/stdin: 1 predictions"), told.stderr
    with open(tmp_path / "good.csv") as file:
        assert run(["check", "/dev/stdin", "--rows", 1], stdin=file).returncode == 0
    shell = shlex.join(PROGRAM) + " check <(cat good.csv) --rows 1"
    told = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, cwd=tmp_path)
    assert told.returncode == 0 and told.stdout.startswith("/dev/fd/"), told.stderr
    told = run(["check", "/dev/stdin"], stdin=subprocess.DEVNULL)
    assert told.returncode == 2 and "is a device" in told.stderr


# Writing ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dead():
    "The id of a process that has ended."
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def leftover(folder, name, pid, host=platform.node()):
    "A temporary file that a process has left."
    with patch("os.getpid", lambda: pid), patch("platform.node", lambda: host):
        path = files.temporary_path(folder / name)
    path.write_text("half")
    return path


def test_leftovers_of_killed_processes(dead, tmp_path):
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    users = {tmp_path / name for name in (f".{dead}-out.csv", ".2024-out.csv", f".{dead}-notes.txt", ".digit_recognizer-out.csv", "notes")}
    for path in users:
        path.write_text("mine")
    kept = {leftover(tmp_path, "out.csv", other.pid), leftover(tmp_path, "out.csv", dead, "another"), *users}
    later = {leftover(tmp_path, "other.csv", dead), leftover(tmp_path, "out.csv.bak", dead)}
    for pid in (dead, dead + 10**9, os.getpid()):
        leftover(tmp_path, "out.csv", pid)
    left = leftover(tmp_path, "run", dead)
    left.unlink()
    left.mkdir()
    with atomic_write(tmp_path / "out.csv") as part:
        part.write_text("whole")
    with atomic_folder(tmp_path / "run"):
        pass
    made = {tmp_path / "out.csv", tmp_path / "run"}
    assert {*tmp_path.iterdir()} == {*kept, *later, *made}
    remove_temporary(tmp_path)
    other.communicate(b"\n")
    assert {*tmp_path.iterdir()} == {*kept, *made}


def test_leftovers_of_version_0_2_0(dead, tmp_path):
    "They are removed from a locked folder, by the names of a run's files; other names are the user's."
    ours = ["run.json", "plan.json", "state.json", "model.keras", "model.onnx.json", "savedmodel", "savedmodel.json", "epoch-12.npz", "test.npz", "curve.csv", "page.html"]
    users = ["out.csv", "model.keras.bak", "epoch-x.npz", "my-run.json", "train.csv"]
    for name in ours + users:
        (tmp_path / f".{dead}-{name}").write_text("half")
    remove_temporary(tmp_path, "run.json")
    assert len(list(tmp_path.iterdir())) == len(ours + users)
    remove_temporary(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f".{dead}-{name}" for name in users}


@pytest.mark.parametrize("host", ["", "a-1-b", "x" * 300, "[*]/.é\n", "é" * 64])
def test_temporary_names_on_any_machine(host, dead, tmp_path):
    "They fit, also for the longest names, and are recognised."
    for name in ("out.csv", "é" * 127, "x" * 251 + ".csv", "7-8-9"):
        with patch("platform.node", lambda: host):
            left, other = leftover(tmp_path, name, dead, host), leftover(tmp_path, "another", dead, host)
            assert left.name.startswith(".digit_recognizer-") and left.suffix == (tmp_path / name).suffix
            remove_temporary(tmp_path, name)
            assert [*tmp_path.iterdir()] == [other]
            remove_temporary(tmp_path)
        assert not [*tmp_path.iterdir()]


def test_a_killed_writer_is_cleaned_up_by_the_next(tmp_path):
    program = f"""
from digit_recognizer.core.files import atomic_write
with atomic_write({str(tmp_path / "out.csv")!r}) as part:
    part.write_text("half"); print("ready", flush=True); input()"""
    writer = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    writer.stdout.readline()
    with atomic_write(tmp_path / "out.csv") as part:
        part.write_text("mine")
    assert len(list(tmp_path.iterdir())) == 2  # that of the living writer stays
    writer.kill()
    writer.communicate()
    (tmp_path / "out.csv").unlink()
    with atomic_write(tmp_path / "out.csv") as part:
        part.write_text("mine")
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


def test_no_writer_replaces_what_another_made(tmp_path):
    for write in (atomic_write, atomic_folder):
        with pytest.raises(InputError, match="already exists"), write(tmp_path / "out") as part:
            (part / "x" if part.is_dir() else part).write_text("ours")
            (tmp_path / "out").write_text("another's")
        assert (tmp_path / "out").read_text() == "another's" and len(list(tmp_path.iterdir())) == 1
        (tmp_path / "out").unlink()


def test_links_and_names_that_the_system_refuses(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("link", "loop"):
        for write in (atomic_write, atomic_folder):
            with pytest.raises(InputError, match="already exists"), write(tmp_path / name):
                pass
    assert not (tmp_path / "nowhere").exists()
    for write in (atomic_write, atomic_folder):
        with pytest.raises((OSError, InputError), match="File name too long"), write(tmp_path / ("x" * 256)):
            pass
        with write(tmp_path / ("é" * 127)) as part:
            part.exists() or part.write_text("whole")
        assert (tmp_path / ("é" * 127)).exists()
        files._remove(tmp_path / ("é" * 127))
    with pytest.raises((OSError, InputError), match="/proc/out.csv"), atomic_write("/proc/out.csv") as part:
        part.write_text("7")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "loop"]


@contextmanager
def small_files():
    "No file of this process can grow beyond 1,000 bytes."
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write_text(path):
    path.write_text("7" * 5000)


def write_array(path):
    import numpy as np

    with open(path, "wb") as f:
        np.save(f, np.zeros(5000))


@pytest.mark.parametrize("fill", [write_text, write_array])
def test_a_full_disk_names_the_path(fill, tmp_path):
    for replace in (True, False):
        with pytest.raises(OSError) as failed, atomic_write(tmp_path / "out.csv", replace) as part, small_files():
            fill(part)
        assert failed.value.filename == str(tmp_path / "out.csv") and failed.value.strerror
    with pytest.raises(OSError) as failed, atomic_folder(tmp_path / "run") as part, small_files():
        fill(part / "x")
    assert failed.value.filename == str(tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_ends_a_command_in_one_line(tmp_path):
    with small_files():
        code, out, err = typed("export-csv", tmp_path / "csv")
    assert (code, out) == (2, "") and err == f"error: {tmp_path / 'csv'}: File too large\n"
    assert not list(tmp_path.iterdir())


def test_a_picture_that_cannot_be_annotated_is_counted_once(root, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "sheet-read.png")

    monkeypatch.setattr("digit_recognizer.images.read._write_annotated", full)
    code, out, err = typed("read", root / "nbs/samples/sheet.png", "--annotate", tmp_path / "read", "--quiet")
    assert code == 2 and "30 free digits" in out
    assert err.startswith("error: ") and err.count("\n") == 1 and "No space left" in err


def test_nothing_is_said_to_be_kept_where_nothing_is(root, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "job.json")

    monkeypatch.setattr("digit_recognizer.scale.scoring.write_record", full)
    (tmp_path / "digits.csv").write_text(",".join(f"pixel{i}" for i in range(784)) + "\n" + ",".join(["0"] * 784) + "\n")
    code, out, err = typed("predict", pretrained_run().folder, tmp_path / "digits.csv", "--out", tmp_path / "out.csv", "--quiet")
    assert (code, out, err) == (2, "", "error: job.json: No space left on device\n")


# Reading ------------------------------------------------------------------------------------------------------------


def append(path):
    with open(path, "a") as f:
        f.write("x")


def replace(path):
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(0, path.stat().st_mtime_ns))
    other.replace(path)


def truncate(path):
    os.truncate(path, 1)


def rewrite(path):
    path.write_bytes(path.read_bytes())
    os.utime(path)


@pytest.mark.parametrize("change", [append, replace, truncate, rewrite, Path.unlink])
def test_a_file_that_changes_while_it_is_read(change, tmp_path):
    path = tmp_path / "digits.csv"
    path.write_text("7,7\n")
    os.utime(path, ns=(0, 10**9))
    with pytest.raises(InputError, match="digits.csv: changed while it was read; repeat the command"), unchanged(path):
        change(path)
        raise ValueError("half a line")
