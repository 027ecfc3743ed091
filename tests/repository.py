"""Copies of the repository for tests that run git or nbdev on it."""
import shutil
import subprocess


def git(folder, *words):
    "Run git in a folder; what it printed."
    words = ["git", "-c", "user.name=Test", "-c", "user.email=test@localhost", *words]
    return subprocess.run(words, cwd=folder, check=True, capture_output=True, text=True).stdout


def committed_copy(root, folder):
    "A copy of the files of the work tree that git does not ignore, committed in a repository of its own; its folder."
    for name in git(root, "ls-files", "-co", "--exclude-standard", "-z").split("\0"):
        if name and (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, folder / name)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "copy")
    return folder


def status(folder):
    "What git sees as changed."
    return git(folder, "status", "--porcelain")
