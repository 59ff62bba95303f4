"""``python -m arm``, from this directory, as root on Debian: the suite under ARM of 64 and 32 bits, regions exchanged.

Makes a Debian root for each machine (``debootstrap --foreign``, then only unpacked: Python runs without more), in which
the kernel runs ARM programs by qemu's user emulation. This shows that widths, alignments and system calls are right.
What order of loads and stores ARM may show is the model's matter (``tests/model``): the emulator keeps the host's.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ipcdatastore

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
MACHINES = {"arm64": ("aarch64", 8), "armhf": ("armv7l", 4)}
PACKAGES = ["qemu-user-static", "binfmt-support", "debootstrap"]
LIBRARIES = ["pytest", "pytest-xdist", "hypothesis<6.130", "filelock", "portalocker", "click", "rich"]
SUITE = "bookworm"
EXCHANGED = {f"key {number}": ["value", number, "x" * number * 37] for number in range(200)}

# Runs there and here: writes, or verifies what another one wrote, then writes on.
SCRIPT = """
import json, struct, sys
sys.path[:0] = [{source!r}]
import ipcdatastore
order = json.load(sys.stdin)
with ipcdatastore.open("exchanged", directory=order["directory"], serializer="json") as store:
    assert dict(store) == order["before"], len(store)
    assert store.check() == []
    store.update(order["changes"])
    for key in order["deleted"]:
        del store[key]
    for _ in range(order["times"]):
        store.increment("counter")
    assert store.check() == []
"""


def command(*words, **options):
    print("+", *words, file=sys.stderr)
    subprocess.run([str(word) for word in words], check=True, **options)


def prepare(base):
    """What this machine needs."""
    if not shutil.which("debootstrap") or not Path("/usr/bin/qemu-arm-static").exists():
        quiet = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
        command("apt-get", "update", "-qq", env=quiet)
        command("apt-get", "install", "-y", "-qq", "--no-install-recommends", *PACKAGES, env=quiet)
    registered = Path("/proc/sys/fs/binfmt_misc")
    if not (registered / "register").exists():
        command("mount", "-t", "binfmt_misc", "binfmt_misc", registered)
    for name in ("qemu-aarch64", "qemu-arm"):
        if not (registered / name).exists():
            command("update-binfmts", "--enable", name)
    base.mkdir(parents=True, exist_ok=True)


def make_root(base, machine):
    """A root with Python and what the tests need; the one that is there, if it is whole."""
    root = base / machine
    done = root / "opt" / "done"
    if not done.exists():
        include = "--include=python3,python3-venv"
        command("debootstrap", "--foreign", f"--arch={machine}", "--variant=minbase", include, SUITE, root)
        for package in sorted((root / "var/cache/apt/archives").glob("*.deb")):
            subprocess.run(["dpkg", "-x", str(package), str(root)], check=True)
        command(sys.executable, "-m", "pip", "install", "--quiet", "--target", root / "opt" / "site", *LIBRARIES)
        done.touch()
    return root


class Mounted:
    """The root with the system's directories, the project and a place to exchange regions."""

    def __init__(self, root, place):
        self.root = root
        self.binds = {"/dev/shm": "dev/shm", str(place): str(place).lstrip("/")}

    def __enter__(self):
        (self.root / "proc").mkdir(exist_ok=True)
        command("mount", "-t", "proc", "proc", self.root / "proc")
        command("mount", "--bind", "/dev", self.root / "dev")
        for source, target in self.binds.items():
            (self.root / target).mkdir(parents=True, exist_ok=True)
            command("mount", "--bind", source, self.root / target)
        shutil.rmtree(str(self.root / "work"), ignore_errors=True)
        unwanted = shutil.ignore_patterns(".*", "__pycache__", "build", "dist")
        shutil.copytree(str(ROOT), str(self.root / "work"), ignore=unwanted)
        return self

    def __exit__(self, *exc):
        for target in (*reversed(list(self.binds.values())), "dev", "proc"):
            subprocess.run(["umount", "-l", str(self.root / target)], check=False)

    def python(self, *words, source="/work/src", **options):
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": f"{source}:/opt/site",
        }
        chroot = ["chroot", str(self.root), "/bin/sh", "-c", 'cd /work && exec /usr/bin/python3 "$@"', "sh"]
        return subprocess.run([*chroot, *words], env=environment, check=False, **options)


# --- regions that go around ----------------------------------------------------------------------------------
def here(source, order):
    subprocess.run([sys.executable, "-c", SCRIPT.format(source=source)], input=json.dumps(order).encode(), check=True)


def exchange(mounts, place):
    """One region, written in turn by each machine, and verified by the next; then by all of them at the same time."""
    source = str(ROOT / "src")
    hands = {"this machine": lambda order: here(source, order)}
    for name, mounted in mounts.items():
        hands[name] = lambda order, mounted=mounted: mounted.python(
            "-c", SCRIPT.format(source="/work/src"), input=json.dumps(order).encode()
        ).check_returncode()
    held = {}
    turns = [*hands, *reversed(list(hands)), *hands]
    for turn, name in enumerate(turns):
        changes = {key: [*value, turn, name] for key, value in list(EXCHANGED.items())[turn * 9 :]}
        deleted = list(changes)[:5] if turn else []
        hands[name]({"directory": str(place), "before": held, "changes": changes, "deleted": deleted, "times": 10})
        held = {key: value for key, value in {**held, **changes}.items() if key not in deleted}
        held["counter"] = 10 * (turn + 1)
    print(f"one region through {' -> '.join(turns)}: all of its records verified each time")
    together(mounts, place, held["counter"])


TOGETHER = """
import sys
sys.path[:0] = [{source!r}]
import ipcdatastore
with ipcdatastore.open("exchanged", directory={place!r}, timeout=60) as store:
    for number in range({times}):
        store.increment("counter")
        store[{name!r}, number % 50] = "x" * (number % 3000)
        key = list(store)[number % len(store)]
        assert store.get(key) is not None or key not in store
"""


def together(mounts, place, begun, times=300):
    children = []
    for name, mounted in [("this machine", None), *mounts.items()]:
        if mounted is None:
            text = TOGETHER.format(source=str(ROOT / "src"), place=str(place), times=times, name=name)
            children.append(subprocess.Popen([sys.executable, "-c", text]))
        else:
            text = TOGETHER.format(source="/work/src", place=str(place), times=times, name=name)
            chroot = [
                "chroot",
                str(mounted.root),
                "/usr/bin/env",
                "PYTHONPATH=/opt/site",
                "/usr/bin/python3",
                "-c",
                text,
            ]
            children.append(subprocess.Popen(chroot))
    for child in children:
        if child.wait():
            raise SystemExit(f"one of them ended with {child.returncode}")
    with ipcdatastore.open("exchanged", directory=place) as store:
        assert store["counter"] == begun + times * len(children), store["counter"]
        assert store.check() == []
    print(f"{len(children)} machines at the same time: {times * len(children)} increments, all of them there")


def main():
    parser = argparse.ArgumentParser(
        prog="arm",
        description="The suite under ARM, and regions exchanged with it.",
        epilog="Other arguments go to pytest.",
    )
    parser.add_argument(
        "--base", default="/var/tmp/ipcdatastore-arm", help="where the roots are (default: %(default)s)"
    )
    parser.add_argument("--exchange-only", action="store_true", help="do not run the suite")
    arguments, tests = parser.parse_known_args()  # the rest goes to pytest
    if os.geteuid() != 0:
        raise SystemExit("only root can make and enter another root")
    base = Path(arguments.base)
    prepare(base)
    place = Path(tempfile.mkdtemp(prefix="ipcdatastore-exchange-", dir="/dev/shm"))
    wrong = []
    mounts = {}
    try:
        for machine, (name, width) in MACHINES.items():
            mounted = Mounted(make_root(base, machine), place)
            mounted.__enter__()
            mounts[machine] = mounted
            told = mounted.python(
                "-c", "import os, struct; print(os.uname().machine, struct.calcsize('P'))", stdout=subprocess.PIPE
            )
            assert told.stdout.decode().split() == [name, str(width)], told.stdout
        exchange(mounts, place)
        for machine, mounted in mounts.items():
            if arguments.exchange_only:
                break
            begun = time.monotonic()
            options = ["-q", "-n", str(os.cpu_count() or 2), "-p", "no:cacheprovider"]
            code = mounted.python("-m", "pytest", *options, *(tests or ["-m", "not slow"])).returncode
            print(f"{machine}: pytest ended with {code} after {time.monotonic() - begun:.0f} s")
            wrong += [machine] * bool(code)
    finally:
        for mounted in mounts.values():
            mounted.__exit__()
        shutil.rmtree(str(place), ignore_errors=True)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
