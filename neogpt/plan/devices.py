"""Usual devices: what their makers promise, and what is assumed about using and renting them.

Peaks are dense bfloat16 with float32 sums, from the makers' data sheets. `mfu` is the share of that peak which is
assumed to be reached; prices are assumptions too, both to be replaced by what you measure and pay.
"""

from dataclasses import dataclass

from neogpt.hardware import PEAK_FLOPS

GIB = 2**30


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
    """Assumed model FLOPs utilization."""
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
