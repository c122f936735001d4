"""Take recorded music apart into its instruments, by blending separators.

    import stemblend

    stems = stemblend.separate("song.mp3")
    stems.save("stems/song")

The names below are loaded when they are first used, so that `import stemblend` takes no time.
"""

from typing import TYPE_CHECKING

from stemblend.util.first_use import on_first_use

if TYPE_CHECKING:
    from stemblend.api import separate, separate_file
    from stemblend.interfaces import Separator
    from stemblend.models.registry import load, registry
    from stemblend.separation.stems import Stems
    from stemblend.separators.blend.blend import Blend

__all__ = ["Blend", "Separator", "Stems", "load", "registry", "separate", "separate_file"]
__version__ = "0.1.0"


__getattr__ = on_first_use(
    __name__,
    {
        ".api": ("separate", "separate_file"),
        ".interfaces": ("Separator",),
        ".models.registry": ("load", "registry"),
        ".separation.stems": ("Stems",),
        ".separators.blend.blend": ("Blend",),
    },
)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
