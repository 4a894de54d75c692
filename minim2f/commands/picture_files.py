"""Which pictures `minim2f predict` takes, and where their results go."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}  # taken from a folder
DRAWINGS = (".png", ".jpg", ".jpeg", ".webp", ".svg", ".pdf")  # what can be drawn into


def pictures_in(paths: Sequence[Path]) -> list[Path]:
    """The files that are meant: themselves, or all pictures of a folder by name.

    Raises:
        FileNotFoundError: a path does not exist, or a folder has no picture in it.
    """
    found: list[Path] = []
    for path in paths:
        inside = _inside(path) if path.is_dir() else [path]
        if not inside:
            below = sorted({file.parent for file in path.rglob("*") if _is_picture(file)})
            listed = _some([str(folder) for folder in below])
            raise FileNotFoundError(
                f"{path} has no picture in it, no {', '.join(sorted(PICTURES))}"
                + (f"; there are some in {listed}" if below else "")
            )
        found += inside
    return list(dict.fromkeys(found))


def skipped_in(path: Path) -> str:
    """What is in a folder beside its pictures, in a sentence; "" if nothing is, or for a file."""
    if not path.is_dir():
        return ""
    others = [p for p in sorted(path.iterdir()) if p.name[0] != "." and not _is_picture(p)]
    folders = [p.name for p in others if p.is_dir()]
    files = [p.name for p in others if not p.is_dir()]
    told = [
        f"{len(names)} {kind if len(names) == 1 else kind + 's'} ({_some(names)})"
        for kind, names in (("folder", folders), ("other file", files))
        if names
    ]
    taken = f"the pictures in it end in {', '.join(sorted(PICTURES))}"
    return f"{path}: left out {' and '.join(told)}; {taken}" if told else ""


def file_names(pictures: Sequence[Path]) -> list[str]:
    """What each picture is called in JSON: its name, or where names repeat, its path.

    The paths begin at the folder that all pictures lie in.
    """
    names = [path.name for path in pictures]
    if len(set(names)) == len(names):
        return names
    paths = [Path(os.path.abspath(path)) for path in pictures]
    common = os.path.commonpath([path.parent for path in paths])
    return [path.relative_to(common).as_posix() for path in paths]


def drawings_of(pictures: Sequence[Path], out: Path | None, many: bool = False) -> list[Path]:
    """Where the drawing of each picture goes: a file of its own, which none of them is.

    Args:
        pictures: to be segmented.
        out: what -o says; a folder for several pictures.
        many: the pictures count as several, even if it is one.

    Raises:
        ValueError: `out` is no kind of picture, or a file for several pictures, or would overwrite
            one of them, or is the folder of one.
    """
    many = many or len(pictures) > 1
    if out is None:
        out = Path("out/predictions" if many else "out/prediction.png")
    is_folder = out.is_dir() or not out.suffix[1:].isalpha()
    if not is_folder and out.suffix.lower() not in DRAWINGS:
        raise ValueError(f"-o {out}: a drawing ends in {', '.join(DRAWINGS)}; or name a folder")
    if many and not is_folder:
        raise ValueError(
            f"-o {out}: for several pictures this is to be a folder, without an ending"
        )
    outs = [out / f"{name}.png" for name in _own_names(pictures)] if is_folder else [out]
    own = {path.resolve() for path in pictures}
    if lost := [path for path in outs if path.resolve() in own]:
        raise ValueError(f"-o {out}: {lost[0]} is one of the pictures, and would be overwritten")
    if is_folder and out.resolve() in {path.resolve().parent for path in pictures}:
        raise ValueError(
            f"-o {out}: this is a folder of pictures, and the next prediction would take the "
            "drawings for pictures, too; name another one"
        )
    return outs


def _own_names(pictures: Sequence[Path]) -> list[str]:
    """The name of each picture without its ending; those that repeat are numbered."""
    same = Counter(path.stem for path in pictures)
    numbered = [f"{n}-{path.stem}" for n, path in enumerate(pictures, 1)]
    names = [p.stem if same[p.stem] == 1 else name for p, name in zip(pictures, numbered)]
    return names if len(set(names)) == len(names) else numbered


def _inside(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if _is_picture(path)]


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURES and path.name[0] != "." and not path.is_dir()


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
