"""The project's chores. `nox -l` lists them; arguments after `--` go to the tool that a session runs."""

import os
import re
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["lint", "typing", "tests"]
nox.options.reuse_venv = "yes"
# Not virtualenv: its current releases no longer make environments for Python 3.8.
nox.options.default_venv_backend = "venv"
# A missing Python is reported as a skipped session, also where the environment says that this is CI.
nox.options.error_on_missing_interpreters = False

ROOT = Path(__file__).parent
PYTHONS = ["3.8", "3.9", "3.10", "3.11", "3.12", "3.13"]
# What the tests in a real Kodi need, as Debian names it: Kodi, with the fonts of its skin; a screen, videos, pictures.
KODI_PACKAGES = ["kodi", "fonts-noto-core", "fonts-noto-mono", "fonts-roboto-unhinted"]
SCREEN_PACKAGES = ["xvfb", "ffmpeg", "imagemagick"]
SCREEN_TOOLS = ["Xvfb", "ffmpeg", "import"]
APT_INSTALL = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq", "--no-install-recommends"]
RUFF = "ruff>=0.17,<0.18"


def find_pyenv_pythons():
    """Put every Python that pyenv has installed on PATH, the newest first.

    Its shims are no use here: they exist for versions that are installed but not activated, and fail.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    bins = [path for path in pyenv.glob("versions/*/bin") if (path / "python3").exists()]
    bins.sort(key=lambda path: [int(number) for number in re.findall(r"\d+", path.parent.name)], reverse=True)
    os.environ["PATH"] = os.pathsep.join([*map(str, bins), os.environ["PATH"]])


find_pyenv_pythons()


def copy_without_source(destination):
    """Copy the checkout, all but src/: what is tested there is the installed package, or nothing."""
    unwanted = shutil.ignore_patterns("src", ".*", "__pycache__", "build", "dist", "*.egg-info")
    shutil.rmtree(destination, ignore_errors=True)
    shutil.copytree(ROOT, destination, ignore=unwanted)


def build_wheel(session, directory):
    """Build the wheel into `directory`, emptied first, and return its path."""
    shutil.rmtree(directory, ignore_errors=True)
    session.run("python", "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(directory), str(ROOT))
    (wheel,) = directory.glob("ipcdatastore-*.whl")
    return wheel


def contents(directory):
    """The bytes of every file below `directory`, by its path there."""
    return {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@nox.session(python=PYTHONS)
def tests(session):
    """Run the suite on every installed Python from 3.8 to 3.13."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "pytest", "-n", "4", *session.posargs)


@nox.session
def lint(session):
    """Check style and formatting."""
    session.install(RUFF)
    session.run("ruff", "check", "--output-format=concise")
    session.run("ruff", "format", "--check")


@nox.session
def typing(session):
    """Check types. The suite under 3.8 shows that the code runs there: no current mypy reads that version."""
    session.install("mypy", "-e", ".[cli]")
    session.run("mypy", "--strict", "src")


@nox.session(reuse_venv=False)
def wheel(session):
    """Test the built wheel, with src/ out of reach."""
    temporary = Path(session.create_tmp()).resolve()
    session.install(f"{build_wheel(session, temporary / 'wheel')}[test]")
    copy = temporary / "checkout"
    copy_without_source(copy)
    session.chdir(copy)
    session.env["PYTHONPATH"] = ""
    found = "import ipcdatastore as i; print(i.__file__); raise SystemExit('site-packages' not in i.__file__)"
    session.run("python", "-c", found)
    session.run("python", "-m", "pytest", "-n", "4", *session.posargs)


@nox.session
def model(session):
    """Check the protocol's model through all its states, and that each broken variant of it fails."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "pytest", "tests/model", "--model=all", *session.posargs)


@nox.session
def mutations(session):
    """Break the source in every listed way, one at a time, and show that the suite sees each."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "tests.mutations", *session.posargs)


@nox.session
def torture(session):
    """Kill writers at random, thousands of them, and verify all that they had acknowledged; `-- --help` tells more."""
    session.install("-e", ".[test]")
    with session.chdir(ROOT / "tests"):
        session.run("python", "-m", "torture", *session.posargs)


@nox.session
def fuzz(session):
    """Damage regions and images, by the million if need be, and judge what comes of it; `-- --help` tells more."""
    session.install("-e", ".[test]")
    with session.chdir(ROOT / "tests"):
        session.run("python", "-m", "fuzz", *session.posargs)


@nox.session
def soak(session):
    """Mixed load with kills for half an hour; do memory and descriptors grow? `-- --svg FILE` draws the curves."""
    session.install("-e", ".[test]")
    with session.chdir(ROOT / "tests"):
        session.run("python", "-m", "soak", *session.posargs)


@nox.session
def arm(session):
    """The suite under ARM of 64 and 32 bits, and regions exchanged with it; as root, on Debian. Arguments: pytest's."""
    session.install("-e", ".[test]")
    with session.chdir(ROOT / "tests"):
        session.run("python", "-m", "arm", *session.posargs)


@nox.session
def bench(session):
    """Print the figures, with those of the peers, and write them as JSON."""
    session.install("-e", ".[bench]")
    session.run("python", "benchmarks/bench.py", *session.posargs)


@nox.session
def demo(session):
    """Run the demo: one gatherer, many readers, one kill, everything verified."""
    session.install("-e", ".[cli]")
    session.run("ipcdatastore", "demo", *session.posargs)


@nox.session
def addons(session):
    """Build the Kodi addons, twice to compare, and run Kodi's checker on them; `-- --art` redraws their pictures."""
    session.install("kodi-addon-checker>=0.0.36", "pillow")
    if "--art" in session.posargs:
        session.run("python", "tools/artwork.py")
    arguments = [argument for argument in session.posargs if argument != "--art"]
    first, second = ROOT / "build" / "addons", Path(session.create_tmp()).resolve() / "again"
    session.run("python", "tools/addons.py", "--out", str(first), *arguments)
    session.run("python", "tools/addons.py", "--out", str(second), *arguments, silent=True)
    if contents(first) != contents(second):
        session.error(f"two builds of the same checkout differ: compare {first} and {second}")
    session.log("Both builds gave the same bytes.")
    session.run("python", "tools/check_addons.py")


@nox.session
def kodi(session):
    """Run the addons in a real Kodi, which is installed first where it is missing (Debian, as root)."""
    install_missing(session, ["kodi", *SCREEN_TOOLS], KODI_PACKAGES + SCREEN_PACKAGES)
    run_kodi_tests(session)


@nox.session
def kodi21(session):
    """The same with the Kodi of Debian trixie, in a root of its own (Linux, as root, with debootstrap)."""
    install_missing(session, SCREEN_TOOLS, SCREEN_PACKAGES)

    def add_kodi(root):
        no_services = root / "usr" / "sbin" / "policy-rc.d"
        no_services.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
        no_services.chmod(0o755)
        enter = 'mount -t proc proc "$1/proc" && exec chroot "$@"'
        session.run(
            "unshare", "-m", "sh", "-ec", enter, "enter", str(root), *APT_INSTALL, *KODI_PACKAGES, external=True
        )

    root = debian_root(session, "kodi21", "trixie", finish=add_kodi)
    run_kodi_tests(session, f"--kodi-root={root}")


def install_missing(session, tools, packages):
    """Install Debian's `packages` unless all `tools` are there; skip the session where that cannot be done."""
    missing = [tool for tool in tools if not shutil.which(tool)]
    if not missing:
        return
    if not shutil.which("apt-get") or os.geteuid() != 0:
        session.skip(f"{', '.join(missing)} not found, and only root of a Debian can install that")
    session.run("apt-get", "update", "-qq", external=True)
    session.run(*APT_INSTALL, *packages, external=True)


def run_kodi_tests(session, *options):
    """The tests of tests/kodi; then the figures, for which they leave the machine alone."""
    session.install("-e", ".[test]")
    workers = ["-n", "2", "--dist", "loadfile"]  # a Kodi serves all tests of its file
    session.run("python", "-m", "pytest", "tests/kodi", "--kodi", *workers, *options, *session.posargs)
    with session.chdir(ROOT / "tests"):
        session.run("python", "-m", "kodi.figures", *options)


def debian_root(session, name, suite, *options, finish=None):
    """The directory of a Debian `suite`, which debootstrap makes with these options, and `finish`, if it is missing."""
    for tool in ("debootstrap", "unshare", "chroot"):
        if not shutil.which(tool):
            session.skip(f"{tool} is not installed")
    if os.geteuid() != 0:
        session.skip("only root can build and enter a Debian root")
    # Absolute and outside the session's directory, which nox empties when it makes the venv anew.
    root = ROOT / ".nox" / f"{name}-root"
    if not root.exists():
        unfinished = root.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        session.run("debootstrap", "--variant=minbase", *options, suite, str(unfinished), external=True)
        if finish is not None:
            finish(unfinished)
        unfinished.rename(root)
    return root


@nox.session
def py314(session):
    """Run the suite under Python 3.14, in a Debian sid root (Linux, as root, with debootstrap)."""
    root = debian_root(session, "py314", "sid", "--include=python3,python3-venv,python3-pip")

    # Packages are downloaded out here, so the root needs neither a network nor its certificates.
    wheels = root / "wheels"
    wheel = build_wheel(session, wheels)
    platform = ["--python-version", "3.14", "--only-binary=:all:"]
    session.run("python", "-m", "pip", "download", "--quiet", *platform, "-d", str(wheels), f"{wheel}[test]")
    copy_without_source(root / "checkout")

    script = """
        set -e
        python3 --version
        python3 -m venv --clear /venv
        /venv/bin/pip install --quiet --no-index --find-links /wheels "ipcdatastore[test]"
        cd /checkout
        exec /venv/bin/python -m pytest "$@"
    """
    enter = """
        mount -t proc proc "$1/proc"
        mount --rbind /dev "$1/dev"
        mount -t tmpfs -o mode=1777 tmpfs "$1/dev/shm"
        exec chroot "$@"
    """
    # The mounts live in a namespace of their own and go with its last process.
    inside = ["env", "-i", "HOME=/root", "LANG=C.UTF-8", "PATH=/usr/bin:/bin", "sh", "-c", script, "pytest"]
    arguments = ["-n", "4", *session.posargs]
    session.run("unshare", "-m", "sh", "-ec", enter, "enter", str(root), *inside, *arguments, external=True)
