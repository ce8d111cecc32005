"""What work takes in energy: joules from the machine's own meters where they can be read, and watts of the rest as an estimate.

Linux shows the counters of processors that have RAPL (packages, and memory where it is metered apart) under powercap, often to
root alone; NVIDIA's library has a card's. Both count all that runs on the part meanwhile, not this program alone. What no meter
reads is estimated by what makers document: a processor's busy cores and the machine's memory as Green Algorithms has them
(doi:10.1002/advs.202100707), a card's board power as assets/cards.yaml names it.
"""

from __future__ import annotations

import ctypes
import re
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from tuneladder.model.cards import cards
from tuneladder.model.hardware import hardware
from tuneladder.types import Energy

POWERCAP = Path("/sys/class/powercap")
NVML = "libnvidia-ml.so.1"
CORE = 12.0  # watts of a busy core: Green Algorithms' figure for a processor that is not in its table
MEMORY = 0.3725  # watts of a GB of the machine's memory, used or not: the same paper's
OFTEN = 60.0  # seconds between two looks: a package's counter comes round after a quarter of an hour under load
KWH = 3.6e6  # joules


class Counter(Protocol):
    name: str

    def joules(self) -> float:
        """What was counted since the counter was opened."""
        ...


class Rapl:
    """A zone of the processor's; its counter begins anew at its end."""

    name = "RAPL"

    def __init__(self, zone: Path) -> None:
        self._path = zone / "energy_uj"
        self._end = int((zone / "max_energy_range_uj").read_text()) + 1
        self._last, self._whole = self._read(), 0

    def joules(self) -> float:
        now = self._read()
        self._whole += (now - self._last) % self._end
        self._last = now
        return self._whole / 1e6

    def _read(self) -> int:
        return int(self._path.read_text())


class Nvml:
    """A card's counter, which has run since its driver was loaded."""

    name = "NVML"

    def __init__(self, library: Any, uuid: str) -> None:
        self._library, self._handle = library, ctypes.c_void_p()
        self._did(library.nvmlInit_v2())
        self._did(library.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(self._handle)))
        self._first = self._read()

    def joules(self) -> float:
        return (self._read() - self._first) / 1e3

    def _read(self) -> int:
        found = ctypes.c_ulonglong()
        self._did(self._library.nvmlDeviceGetTotalEnergyConsumption(self._handle, ctypes.byref(found)))
        return found.value

    @staticmethod
    def _did(code: int) -> None:
        if code:  # a card too old, or a slice of one, counts nothing
            raise OSError(f"NVML error {code}")


class Meter:
    """`with Meter(device) as meter: ...`, and then `meter.energy()` is what that took."""

    def __init__(self, device: str) -> None:
        self._processor, self._card = rapl(POWERCAP), _nvml() if device.startswith("cuda") else []
        self._watts = (0.0 if self._processor else processor_watts(device)) + (0.0 if self._card else card_watts(device))
        self._seconds = self._read = 0.0
        self._done = threading.Event()

    def __enter__(self) -> Meter:
        self._start = time.monotonic()
        if self._processor:
            self._looking = threading.Thread(target=self._look, name="energy", daemon=True)
            self._looking.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._seconds = time.monotonic() - self._start
        self._done.set()
        if self._processor:
            self._looking.join()
        self._read = sum(counter.joules() for counter in self._counters)

    def energy(self) -> Energy:
        names = dict.fromkeys(counter.name for counter in self._counters)
        return Energy(self._seconds, self._read, " and ".join(names), self._watts)

    @property
    def _counters(self) -> Sequence[Counter]:
        return [*self._processor, *self._card]

    def _look(self) -> None:
        while not self._done.wait(OFTEN):
            for counter in self._processor:
                counter.joules()


def rapl(root: Path) -> list[Rapl]:
    """The zones that can be read: packages, and memory that is metered apart. `psys` and the like hold a package's count again."""
    found = []
    for zone in sorted(root.glob("intel-rapl:*")):
        with suppress(OSError, ValueError):
            if re.match(r"package|dram", (zone / "name").read_text()):
                found.append(Rapl(zone))
    return found


def processor_watts(device: str) -> float:
    """By the cores that are busy, one where a GPU does the work, and the memory that this process may use."""
    import torch

    machine = hardware()
    busy = min(machine.cores, torch.get_num_threads()) if device == "cpu" else 1
    return CORE * busy + MEMORY * machine.memory / 1e9


def card_watts(device: str) -> float:
    """The board power that a card's maker names; 0 for one that is not known, and where there is none."""
    if not device.startswith("cuda"):
        return 0.0
    words = set(re.findall(r"\w+", hardware().gpu))
    named = [card for card in cards() if set(re.findall(r"\w+", card.name)) <= words]
    return max(named, key=lambda card: len(card.name)).watts if named else 0.0


def unseen(device: str) -> str:
    """What neither a meter nor a maker's figure speaks of, in a sentence, or ""."""
    if device == "cpu" or (device.startswith("cuda") and (card_watts(device) or _nvml())):
        return ""
    return f"the energy of the {device} device is not known here and is left out: set `evaluate: {{energy: {{watts: ...}}}}`"


def joules(energy: Energy, watts: float | None = None) -> float:
    """All of it; `watts` in place of the estimate, where there is one."""
    return energy.read + energy.seconds * (watts if watts is not None and energy.watts else energy.watts)


def grams(joules: float, intensity: float) -> float:
    """Of CO2, at so many grams for a kWh."""
    return joules / KWH * intensity


def together(energies: Sequence[Energy]) -> Energy:
    """What several pieces of work took."""
    seconds = sum(own.seconds for own in energies)
    estimated = sum(own.watts * own.seconds for own in energies)
    meters = dict.fromkeys(own.meter for own in energies if own.meter)
    return Energy(seconds, sum(own.read for own in energies), " and ".join(meters), estimated / seconds if seconds else 0.0)


def longer(energy: Energy, seconds: float) -> Energy:
    """The same draw for so many seconds: what a killed try took before is counted at the draw of what went on."""
    share = seconds / energy.seconds if energy.seconds else 0.0
    return Energy(seconds, energy.read * share, energy.meter, energy.watts)


def _nvml() -> list[Nvml]:
    import torch

    with suppress(OSError, AttributeError):
        card = torch.cuda.get_device_properties(torch.cuda.current_device())
        return [Nvml(ctypes.CDLL(NVML), f"GPU-{card.uuid}")]
    return []
