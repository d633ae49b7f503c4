"""Usual devices: what their makers promise, and what is assumed about using and renting them.

Peaks are dense bfloat16 with float32 sums, from the makers' data sheets. `mfu` is the share of that peak which is
assumed to be reached; prices are assumptions too, both to be replaced by what you measure and pay.
"""

from dataclasses import dataclass

GIB = 2**30

PEAK_FLOPS = {
    "B200": 2250e12,
    "GH200": 989e12,
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "H800": 989e12,
    "A100": 312e12,
    "A800": 312e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
    "A10G": 70e12,
    "A10": 125e12,
    "A40": 150e12,
    "RTX A6000": 155e12,
    "RTX 5090": 210e12,
    "RTX 4090": 165e12,
    "RTX 4080": 97e12,
    "RTX 3090": 71e12,
    "MI300X": 1307e12,
    "MI250X": 383e12,
}
"""Dense bfloat16 peak (summed in float32) by GPU name, from the makers' data sheets; the first that fits counts."""


@dataclass(frozen=True)
class Device:
    """One accelerator, or the processor."""

    name: str
    peak_flops: float
    """Dense bfloat16 FLOP/s by the data sheet; for a processor, what a core was seen to reach (mfu 1)."""
    memory_bytes: int
    """As the driver reports it, in bytes; 0 where it is the machine's own."""
    dollars_per_hour: float
    """Assumed price of one."""
    mfu: float = 0.40
    """Assumed model FLOPs utilisation."""
    mfu_source: str = "assumed"


_H100, _A100 = "llm.c on 8 H100: 40.7 %", "llm-foundry's table for 125M on 8 A100: 43 %"

DEVICES = {
    device.name: device
    for device in (
        Device("b200", PEAK_FLOPS["B200"], 178 * GIB, 5.50),
        Device(
            "h200", PEAK_FLOPS["H200"], 139 * GIB, 3.50, mfu_source="modded-nanogpt's log of 8 H200: 39.6 %"
        ),
        Device("h100", PEAK_FLOPS["H100"], 79 * GIB, 3.00, mfu_source=_H100),
        Device("a100-80gb", PEAK_FLOPS["A100"], 79 * GIB, 1.75, 0.43, _A100),
        Device("a100-40gb", PEAK_FLOPS["A100"], 39 * GIB, 1.30, 0.43, _A100),
        Device("l40s", PEAK_FLOPS["L40S"], 44 * GIB, 0.90, 0.35),
        Device("a10g", PEAK_FLOPS["A10G"], 22 * GIB, 1.00),
        Device("rtx-5090", PEAK_FLOPS["RTX 5090"], 31 * GIB, 0.60),
        Device("rtx-4090", PEAK_FLOPS["RTX 4090"], 23 * GIB, 0.40),
        Device("rtx-3090", PEAK_FLOPS["RTX 3090"], 23 * GIB, 0.25),
        Device("cpu", 50e9, 0, 0.0, 1.0, "50 GFLOP/s a core, a little less than `laptop` reached in the log"),
    )
}


def peak_flops(name: str) -> float:
    """The peak of the GPU of this name (as its driver gives it); 0 for one that is not known."""
    return next((peak for known, peak in PEAK_FLOPS.items() if known in name), 0.0)
