"""Energy: counters that come round, a library that may say no, estimates by makers' figures, and what is put together."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import pytest

from tuneladder.model import energy
from tuneladder.model.cards import cards
from tuneladder.model.energy import Meter, Nvml, card_watts, grams, joules, longer, processor_watts, rapl, together, unseen
from tuneladder.model.hardware import Hardware
from tuneladder.types import Energy

RANGE = 1_000_000_000


def zone(root: Path, place: str, name: str, count: int = 0) -> Path:
    folder = root / place
    folder.mkdir()
    for file, said in (("name", name), ("energy_uj", count), ("max_energy_range_uj", RANGE)):
        (folder / file).write_text(f"{said}\n")
    return folder


def machine(gpu: str = "", cores: int = 4) -> Hardware:
    return Hardware(cores, 16 * 10**9, 8 * 10**9, False, "cuda" if gpu else "cpu", gpu, 0, "high-water mark")


def test_packages_and_memory_are_counted_once(tmp_path: Path) -> None:
    for place, name in (
        ("intel-rapl:0", "package-0"),
        ("intel-rapl:0:0", "core"),
        ("intel-rapl:0:1", "dram"),
        ("intel-rapl:1", "package-1"),
        ("intel-rapl:2", "psys"),
        ("intel-rapl-mmio:0", "package-0"),
    ):
        zone(tmp_path, place, name)
    assert [counter._path.parent.name for counter in rapl(tmp_path)] == ["intel-rapl:0", "intel-rapl:0:1", "intel-rapl:1"]
    assert rapl(tmp_path / "nowhere") == []
    (tmp_path / "intel-rapl:1" / "energy_uj").unlink()  # as one that root alone may read
    assert len(rapl(tmp_path)) == 2


def test_a_counter_that_comes_round_goes_on(tmp_path: Path) -> None:
    folder = zone(tmp_path, "intel-rapl:0", "package-0", RANGE - 2_000_000)
    (counter,) = rapl(tmp_path)
    for now, whole in ((RANGE - 1_000_000, 1.0), (500_000, 2.5), (3_500_000, 5.5)):
        (folder / "energy_uj").write_text(str(now))
        assert counter.joules() == pytest.approx(whole, abs=1e-3)


def test_a_meter_reads_what_was_counted_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = zone(tmp_path, "intel-rapl:0", "package-0", 7_000_000)
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    with Meter("cpu") as meter:
        (folder / "energy_uj").write_text("19000000")
    found = meter.energy()
    assert (found.read, found.meter, found.watts) == (12.0, "RAPL", 0.0)
    assert 0 < found.seconds < 5
    assert joules(found) == joules(found, watts=1000.0) == 12.0  # what was read is not set anew


def test_what_no_meter_reads_is_estimated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    with Meter("cpu") as meter:
        pass
    found = meter.energy()
    assert (found.read, found.meter) == (0.0, "")
    assert found.watts == processor_watts("cpu") > 12
    assert joules(found) == found.watts * found.seconds
    assert joules(found, watts=40.0) == 40.0 * found.seconds


def test_a_processor_draws_by_its_busy_cores_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(energy, "hardware", lambda: machine(cores=4))
    for threads, busy in ((2, 2), (16, 4)):
        monkeypatch.setattr(torch, "get_num_threads", lambda own=threads: own)
        assert processor_watts("cpu") == pytest.approx(12 * busy + 16 * 0.3725)
    assert processor_watts("cuda") == pytest.approx(12 + 16 * 0.3725)


@pytest.mark.parametrize(
    ("gpu", "watts"),
    [
        ("NVIDIA A100-SXM4-80GB", 400),
        ("NVIDIA GeForce RTX 4060 Ti", 165),
        ("NVIDIA GeForce RTX 4060", 115),
        ("Tesla T4", 70),
        ("NVIDIA L40S", 350),
        ("NVIDIA H200", 700),
        ("Somebody's card", 0),
    ],
)
def test_a_card_draws_what_its_maker_says(gpu: str, watts: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "hardware", lambda: machine(gpu))
    monkeypatch.setattr(energy, "_nvml", list)
    assert card_watts("cuda") == watts
    assert ("is not known here" in unseen("cuda")) == (watts == 0)
    assert card_watts("cpu") == 0
    assert all(card.watts > 0 for card in cards())


def test_of_a_device_without_any_figure_that_is_said() -> None:
    assert unseen("cpu") == ""
    assert "watts" in unseen("mps")


class Library:
    """NVIDIA's, as far as it is called; `code` is what it answers when it is asked for a count."""

    def __init__(self, counts: list[int], code: int = 0) -> None:
        self.counts, self.code, self.uuid = counts, code, b""

    def nvmlInit_v2(self) -> int:
        return 0

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes, handle: Any) -> int:
        self.uuid = uuid
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: ctypes.c_void_p, found: Any) -> int:
        if not self.code:
            found._obj.value = self.counts.pop(0)
        return self.code


def test_a_cards_counter_has_run_before() -> None:
    library = Library([5_000, 9_500, 11_000])
    counter = Nvml(library, "GPU-1")
    assert library.uuid == b"GPU-1"
    assert [counter.joules(), counter.joules()] == [4.5, 6.0]
    with pytest.raises(OSError, match="NVML error 3"):
        Nvml(Library([], code=3), "GPU-1")


def test_grams_are_by_the_kilowatt_hour() -> None:
    assert grams(3.6e6, 473.0) == 473.0
    assert grams(1.8e6, 0.0) == 0.0


def test_pieces_of_work_are_put_together() -> None:
    whole = together([Energy(10, 50, "RAPL"), Energy(30, 0, "", 20)])
    assert (whole.seconds, whole.read, whole.meter) == (40, 50, "RAPL")
    assert joules(whole) == 50 + 30 * 20
    assert together([]) == Energy()
    twice = longer(Energy(10, 50, "RAPL", 3), 20)
    assert twice == Energy(20, 100, "RAPL", 3)
    assert longer(Energy(), 5) == Energy(5)
