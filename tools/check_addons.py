"""``python tools/check_addons.py``: what the checker of Kodi's official repository says to the staged addons.

Kodi's people run ``kodi-addon-checker`` on whatever is submitted; a PROBLEM is a refusal. This runs it for each branch
that the addons are for, with no network: of the official repository, which the checker would download ten times over,
it needs only what is required here, which is Kodi itself and the addons given. They count as being there for each
other, and as new.

A line a branch, and below it what is to be mended. The exit code: 0 without problems, 1 with one, 2 if there was
nothing to check. Warnings are for people to judge; those that were judged are in ACCEPTED, and only counted.
"""

import argparse
import contextlib
import io
import re
import sys
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

STAGED = Path(__file__).resolve().parents[1] / "build" / "addons" / "staged"
BRANCHES = ("matrix", "nexus", "omega", "piers")  # Kodi 19 to 22: the branches of Python 3

# What warnings that we live with begin with, for any branch, and why we do.
ACCEPTED = {
    "For {branch} it is advised to set xbmc.python version to": (
        "one zip is for all branches: Kodi 19 has xbmc.python 3.0.0, and every later Kodi still accepts that"
    ),
    "For {branch} it is advised to set xbmc.addon version to": (
        "the repository's own addon is for all branches too, and is not submitted anywhere"
    ),
}


class CheckError(Exception):
    """There is nothing to check, or nothing to check it with."""


class Finding(NamedTuple):
    """What the checker said about one addon."""

    branch: str
    addon: str
    level: str  # "ERROR" (which it calls a problem elsewhere), "WARN", "INFO"; or "DETAIL" of a problem
    message: str

    @property
    def accepted(self):
        """Why we live with it, or None."""
        for beginning, reason in ACCEPTED.items():
            if self.level == "WARN" and self.message.startswith(beginning.format(branch=self.branch)):
                return reason
        return None


class KnownAddon(NamedTuple):
    """What the checker asks of an addon in the official repository: part of Kodi, so it needs nothing."""

    id: str
    version: str

    def dependsOn(self, addonId):  # noqa: ARG002, N802, N803 - as the checker calls it
        return False


def check(directories, branch):
    """Every Finding about the addons in `directories`, for one branch."""
    findings = []
    family = {directory: parsed(directory) for directory in directories}
    for directory, addon in family.items():
        others = [other for path, other in family.items() if path != directory]
        findings += check_one(directory, addon.get("id"), others, branch)
    return findings


def parsed(directory):
    try:
        return ElementTree.parse(directory / "addon.xml").getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise CheckError(f"{directory} holds no addon: {error}") from None


def check_one(directory, addon_id, others, branch):
    from kodi_addon_checker import check_addon, check_url
    from kodi_addon_checker.config import Config
    from kodi_addon_checker.reporter import Reporter, ReportManager

    findings = []

    class Collector(Reporter):
        def report(self, record):
            findings.append(Finding(branch, addon_id, record.log_level, str(record.message)))

    # Its own reporters are plug-ins, which nobody has loaded: this is the only one.
    ReportManager.register(Collector, "collector", True)
    check_url.check_url = lambda report, parsed_xml: None  # asks every web server that addon.xml names
    options = argparse.Namespace(
        branch=branch,
        PR=True,  # as strict as for a submission
        allow_folder_id_mismatch=False,
        skip_dependency_checks=False,
        reporter=None,
        enable_debug_log=False,
    )
    config = Config(str(directory), options)
    config.configs["check_license_file_exists"] = True
    said = io.StringIO()  # in what a schema is violated is printed, and given to no reporter
    with contextlib.redirect_stdout(said):
        check_addon.start(f"{directory}/", options, repositories(others, branch), config)
    for reason, path in re.findall(r"(?ms)^Reason: (.+?)$.*?^Path: (.+?)$", said.getvalue()):
        findings.append(Finding(branch, addon_id, "DETAIL", f"{path}: {reason}"))
    return findings


def repositories(others, branch):
    """The official repository, branch by branch, as far as it matters here."""
    from kodi_addon_checker import ValidKodiVersions
    from kodi_addon_checker.addons.Addon import Addon
    from kodi_addon_checker.addons.Repository import Repository
    from kodi_addon_checker.check_dependencies import VERSION_ATTRB

    class Offline(Repository):
        def __init__(self, addons):  # not that of Repository, which downloads
            self.addons = addons

    everywhere = {}
    for position, name in enumerate(ValidKodiVersions):
        kodi = [KnownAddon(addon_id, versions[name]["advised"]) for addon_id, versions in VERSION_ATTRB.items()]
        # What is submitted for one branch is in all later ones too.
        submitted = position >= ValidKodiVersions.index(branch)
        everywhere[name] = Offline(kodi + ([Addon(other) for other in others] if submitted else []))
    return everywhere


def require_checker():
    try:
        from kodi_addon_checker import ValidKodiVersions, __version__
    except ImportError as error:
        raise CheckError(f"{error}: `pip install kodi-addon-checker`, or run `nox -s addons`") from None
    unknown = [branch for branch in BRANCHES if branch not in ValidKodiVersions]
    if unknown:
        raise CheckError(f"kodi-addon-checker {__version__} does not know {', '.join(unknown)}: install a newer one")


def show(branch, findings):
    """One line for the branch, then what is to be mended; returns whether there is no problem."""
    problems = [finding for finding in findings if finding.level == "ERROR"]
    details = [finding for finding in findings if finding.level == "DETAIL"]
    warnings = [finding for finding in findings if finding.level == "WARN" and not finding.accepted]
    accepted = sum(1 for finding in findings if finding.accepted)
    verdict = "BAD" if problems else "ok"
    print(f"{branch:<8} {verdict:<4} problems {len(problems)}, warnings {len(warnings)}, accepted {accepted}")
    for word, listed in (("problem", problems), ("detail", details), ("warning", warnings)):
        for finding in listed:
            print(f"  {word} in {finding.addon}:", finding.message.replace("\n", "\n    "))
    return not problems


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="check_addons.py", description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("directory", nargs="*", type=Path, help="an addon (default: those in build/addons/staged)")
    parser.add_argument("--branch", action="append", choices=BRANCHES, help="this one only; may be repeated")
    chosen = parser.parse_args(arguments)
    directories = [path.resolve() for path in chosen.directory] or sorted(STAGED.glob("*/"))
    try:
        require_checker()
        if not directories:
            raise CheckError(f"there is no addon in {STAGED}: run `python tools/addons.py` first")
        checked = {branch: check(directories, branch) for branch in chosen.branch or BRANCHES}
    except CheckError as error:
        print(f"check_addons.py: {error}", file=sys.stderr)
        return 2
    clean = [show(branch, findings) for branch, findings in checked.items()]
    reasons = {finding.accepted for findings in checked.values() for finding in findings} - {None}
    for reason in sorted(reasons):
        print(f"accepted: {reason}")
    return 0 if all(clean) else 1


if __name__ == "__main__":
    sys.exit(main())
