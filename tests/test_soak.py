"""``python -m soak`` in short, and that it sees what grows."""

import json
import os
from xml.etree import ElementTree

import pytest

import soak

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc")


def test_a_short_run(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(soak, "KILL_EVERY", 1.5)
    monkeypatch.setattr(soak, "judge", lambda curves: [])  # so short a run only begins
    picture = tmp_path / "soak.svg"
    monkeypatch.setattr("sys.argv", ["soak", "--minutes", "0.1", "--json", "--svg", str(picture)])
    assert soak.main() == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["kills"] > 0
    assert figures["memory, service"][1] > 1 << 20
    assert len(ElementTree.parse(str(picture)).findall(".//{*}polyline")) == 6


@pytest.mark.parametrize(
    ("name", "grows"), [("memory, service", 20 << 20), ("descriptors, service", 40), ("region", 20 << 20)]
)
def test_it_sees_what_grows(name, grows):
    flat = {name: [(second, grows) for second in range(90)]}
    assert soak.judge(flat) == []
    growing = {name: [(second, grows + grows * second // 90) for second in range(90)]}
    assert len(soak.judge(growing)) == 1
