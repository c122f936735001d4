"""Where networks run, and in which precision."""

import torch

from stemblend.errors import ModelError


def check_device(device: str) -> str:
    """`device` if torch can compute there.

    Raises:
        ModelError: if it cannot.
    """
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ModelError(f"the device {device!r} is not available here; use cpu") from error
    return device


def computes_bfloat16(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 are native on a device, and so twice as fast or more.

    Rounding to bfloat16 changes a network's estimates by about -45 dB of themselves, far below
    their error.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        # older versions of torch do not tell
        features = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(features.get("avx512_bf16") or features.get("amx_bf16"))
    return False
