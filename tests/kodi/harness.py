"""A real Kodi, headless, with addons installed, in a home of its own: started, driven as a user does, read, and ended.

It talks on loopback only. Nothing here waits for a time: everything waits for a condition, with a deadline.
"""

import inspect
import json
import os
import signal
import subprocess
import textwrap
import time
from pathlib import Path

from .home import Home
from .rpc import Connection, RpcError, free_port

HOME_WINDOW = 10000
STEP = 0.02  # seconds between two looks at a condition
BOOT = 60.0
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"  # Kodi looks for its Python's library beside the first python3 there is
NOT_FOR_KODI = ("PYTHON", "IPCDATASTORE_", "LC_", "LANG", "WAYLAND_DISPLAY", "DBUS_", "COVERAGE_", "PYTEST_")

# Runs Kodi from a Debian root as if it were installed here; `exec` keeps the pid, the mounts go with the process.
IN_ROOT = """
mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && mkdir -p "$0$HOME" && mount --bind "$HOME" "$0$HOME" &&
exec chroot "$0" sh -c 'cd "$HOME" && exec "$0" "$@"' "$@"
"""


class Kodi:
    """One Kodi; `addons` are the directories of what is installed. ``with Kodi(...) as kodi`` starts and quits it.

    `environment` is what its process sees on top of ours, `settings` are Kodi's own, `root` is where it is installed.
    It may be started again after it ended, with everything that it had.
    """

    def __init__(self, path, addons, environment, *, root="/", settings=None):
        self.home = Home(path, root)
        self.addons, self.environment = list(addons), dict(environment)
        self.root, self.settings = Path(root), dict(settings or {})
        self.process = self.connection = None
        self.exit_code = self.quit_seconds = None
        self._display = self._screen = None
        self._orders = 0

    # --- life ----------------------------------------------------------------------------------------
    def start(self):
        if not self.home.kodi.exists():
            self.home.prepare(self.addons, self.settings, free_port())
        port = free_port()
        self.home.listen_on(port)
        self._open_display()
        with open(self.home.path / "kodi.out", "ab") as output:
            self.process = subprocess.Popen(
                self._command(),
                env=self._environment(),
                cwd=self.home.path,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.connection = self.wait_for(lambda: self._connected(port), BOOT, "JSON-RPC")
        self.wait_for(self.is_home, BOOT, "the home window")
        return self

    def quit(self, limit=30.0):
        """Quit as a user does. The exit code; how long it took is `quit_seconds`."""
        begun = time.monotonic()
        self.rpc("Application.Quit")
        try:
            self.process.wait(limit)
        except subprocess.TimeoutExpired:
            self.kill()
        self.quit_seconds = time.monotonic() - begun
        self._ended()
        return self.exit_code

    def kill(self):
        """As a crash does: Kodi learns nothing of it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._ended()

    def close(self):
        """Whatever became of it."""
        if self.process is not None:
            try:
                self.quit()
            except (RpcError, OSError):
                self.kill()
        self._ended()

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *exc):
        self.close()

    def _ended(self):
        if self.connection is not None:
            self.connection.close()
        if self.process is not None:
            self.exit_code = self.process.returncode
        if self._screen is not None:
            self._screen.terminate()
            self._screen.wait()
        self.process = self.connection = self._screen = None

    @property
    def pid(self):
        return self.process.pid

    # --- what it takes to start ----------------------------------------------------------------------
    def _open_display(self):
        ours, its = os.pipe()
        command = ["Xvfb", "-displayfd", str(its), "-screen", "0", "1280x720x24", "-nolisten", "tcp"]
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._screen = subprocess.Popen(command, pass_fds=(its,), **silent)
        os.close(its)
        with os.fdopen(ours) as numbers:
            self._display = ":" + numbers.readline().strip()

    def _command(self):
        # Not the script of that name: it would be another process, with another exit code.
        binary = next(self.root.glob("usr/lib/*/kodi/kodi.bin"))
        if self.root == Path("/"):
            return [str(binary), "--standalone"]
        inside = "/" + str(binary.relative_to(self.root))
        return ["unshare", "-m", "sh", "-c", IN_ROOT, str(self.root), inside, "--standalone"]

    def _environment(self):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(NOT_FOR_KODI)}
        return {
            **kept,
            "PATH": SYSTEM_PATH,
            "HOME": str(self.home.path),
            "DISPLAY": self._display,
            "XDG_RUNTIME_DIR": str(self.home.path / "run"),
            "LIBGL_ALWAYS_SOFTWARE": "1",
            "KODI_AE_SINK": "ALSA",
            **self.environment,
        }

    @staticmethod
    def _connected(port):
        try:
            return Connection(port)
        except OSError:
            return None

    # --- what it does and shows ----------------------------------------------------------------------
    def rpc(self, method, **parameters):
        return self.connection.call(method, parameters)

    def wait_for(self, condition, seconds=20.0, what=""):
        """What `condition` returns, once that is true."""
        end = time.monotonic() + seconds
        while True:
            found = condition()
            if found:
                return found
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"Kodi ended with {self.process.returncode}\n{self.log()[-3000:]}")
            if time.monotonic() > end:
                raise AssertionError(f"waited {seconds} s in vain for {what or inspect.getsource(condition)}")
            time.sleep(STEP)

    def log(self):
        return self.home.log()

    def lines(self, text, after=0):
        """The lines of the log that contain `text`, from character `after` on."""
        return [line for line in self.log()[after:].splitlines() if text in line]

    def label(self, label):
        return self.rpc("XBMC.GetInfoLabels", labels=[label])[label]

    def is_true(self, condition):
        return self.rpc("XBMC.GetInfoBooleans", booleans=[condition])[condition]

    def window(self):
        return self.rpc("GUI.GetProperties", properties=["currentwindow"])["currentwindow"]["id"]

    def is_home(self):
        return self.window() == HOME_WINDOW

    def press(self, action):
        self.rpc("Input.ExecuteAction", action=action)

    def to_home(self):
        """Leave whatever dialog or window is open."""
        while not self.is_home():
            before = self.window()
            self.press("back")
            try:
                self.wait_for(lambda before=before: self.window() != before, 2.0, "the window to close")
            except AssertionError:
                continue  # it may have closed something else, a slider's pop-up say

    def screenshot(self, path):
        subprocess.run(["import", "-display", self._display, "-window", "root", str(path)], check=True)

    # --- Python in it --------------------------------------------------------------------------------
    def start_script(self, addon_id, function, *arguments, uses=()):
        """Run `function` in a new sub-interpreter of a test addon. Its source goes there: it imports what it needs."""
        self._orders += 1
        path = self.home.path / f"order{self._orders}.json"
        answer = self.home.path / f"answer{self._orders}.json"
        sources = [textwrap.dedent(inspect.getsource(one)) for one in (*uses, function)]
        order = {
            "source": "\n".join(sources),
            "function": function.__name__,
            "arguments": arguments,
            "answer": str(answer),
        }
        path.write_text(json.dumps(order), "utf-8")
        self.run_addon(addon_id, str(path))
        return Script(self, function.__name__, answer)

    def run(self, addon_id, function, *arguments, uses=(), seconds=30.0):
        """What `function` returns."""
        return self.start_script(addon_id, function, *arguments, uses=uses).result(seconds)

    def run_addon(self, addon_id, *arguments):
        """As a skin or a keymap does. It never waits: whatever opened a dialog would block what comes after it."""
        self.rpc("Addons.ExecuteAddon", addonid=addon_id, params=list(arguments), wait=False)


class Script:
    """A script that runs in Kodi."""

    def __init__(self, kodi, name, answer):
        self._kodi, self._name, self._path = kodi, name, answer

    @property
    def is_over(self):
        return self._path.exists()

    def result(self, seconds=30.0):
        self._kodi.wait_for(lambda: self.is_over, seconds, f"the script {self._name}\n{self._kodi.log()[-3000:]}")
        answer = json.loads(self._path.read_text("utf-8"))
        if "error" in answer:
            raise ScriptError(answer["error"])
        return answer["result"]


class ScriptError(Exception):
    """The traceback of a script that failed."""
