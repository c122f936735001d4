"""Take recorded music apart into its instruments, by blending separators.

    import stemblend

    stems = stemblend.separate("song.mp3")
    stems.save("stems/song")

The names below are loaded when they are first used, so that `import stemblend` takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stemblend.blending import Blend
    from stemblend.models import load, registry
    from stemblend.separation.api import separate, separate_file
    from stemblend.separation.stems import Stems
    from stemblend.separators import Separator

_HOMES = {
    "Blend": "stemblend.blending",
    "Separator": "stemblend.separators",
    "Stems": "stemblend.separation.stems",
    "load": "stemblend.models",
    "registry": "stemblend.models",
    "separate": "stemblend.separation.api",
    "separate_file": "stemblend.separation.api",
}

__all__ = ["Blend", "Separator", "Stems", "load", "registry", "separate", "separate_file"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'stemblend' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
