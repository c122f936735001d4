"""Take recorded music apart into its instruments, by blending separators.

    import stemblend

    stems = stemblend.separate("song.mp3")
    stems.save("stems/song")

The names below are loaded when they are first used, so that `import stemblend` takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stemblend.api import separate, separate_file
    from stemblend.interfaces import Separator
    from stemblend.models.registry import load, registry
    from stemblend.separation.stems import Stems
    from stemblend.separators.blend.blend import Blend

_HOMES = {
    "Blend": "stemblend.separators.blend.blend",
    "Separator": "stemblend.interfaces",
    "Stems": "stemblend.separation.stems",
    "load": "stemblend.models.registry",
    "registry": "stemblend.models.registry",
    "separate": "stemblend.api",
    "separate_file": "stemblend.api",
}

__all__ = ["Blend", "Separator", "Stems", "load", "registry", "separate", "separate_file"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'stemblend' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
