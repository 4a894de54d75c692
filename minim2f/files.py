"""One file from elsewhere, whole and right, or a clear reason why not.

A download is written beside its final name, goes on where an earlier one stopped, and gets its
final name only when its size and SHA-256 are right. Nothing is ever half there.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tqdm import tqdm

ATTEMPTS = 4  # at one source, when the connection drops
PAUSE = 0.5  # seconds before the second attempt, twice as long before each later one
TIMEOUT = 30  # seconds without a single byte
CHUNK = 1 << 16  # bytes


class FetchError(RuntimeError):
    """A file could not be had; the message says which, from where, why, and what to do."""


class _Dropped(Exception):
    """The connection broke: worth another attempt, from where it stopped."""


class _Useless(Exception):
    """The source has no such file, or a wrong one: pointless to ask it again."""


def cache_folder() -> Path:
    """Where this user's machine keeps what was fetched for minim2f."""
    cache = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME")
    return Path(cache or Path.home() / ".cache") / "minim2f"


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; the file gets its own name when all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    try:
        yield partial
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())  # a power cut must not find the new name before the data
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write(path: str | os.PathLike, content: bytes | str) -> Path:
    """Writes a file, text as UTF-8: whole or not at all; returns its path."""
    with whole(Path(path)) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
    return Path(path)


def download(
    sources: str | os.PathLike | Sequence[str | os.PathLike],
    target: str | os.PathLike,
    sha256: str | None = None,
    size: int | None = None,
    progress: bool = True,
    md5: str | None = None,
) -> Path:
    """Fetches one file from the first source that has it.

    Args:
        sources: http(s) addresses or local paths, tried in this order.
        target: where the file goes. It is left alone if it is there with the right SHA-256.
        sha256: the expected hash, in hexadecimal. An interrupted download is continued only if it
            or `md5` is given: nothing else proves that the two parts belong together.
        size: the expected length in bytes.
        progress: show a progress bar.
        md5: the first digits of the expected MD5, where a publisher gives no more than that.

    Returns:
        The path of the file.

    Raises:
        FetchError: no source gave the right file, or it could not be written.
    """
    target = Path(target)
    part = target.with_name(target.name + ".part")
    hashes = {"SHA-256": sha256, "MD5": md5}
    hashes = {kind: digits for kind, digits in hashes.items() if digits}
    problems = []
    try:
        if sha256 and has_sha256(target, sha256):
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        for source in [sources] if isinstance(sources, (str, os.PathLike)) else sources:
            try:
                _fill(part, str(source), hashes, size, progress)
                os.replace(part, target)
                return target
            except (_Dropped, _Useless) as problem:
                problems.append(f"\n  {source}: {problem}")
    except OSError as error:  # those of the network have become _Dropped or _Useless
        raise FetchError(
            f"cannot write {target} ({error.strerror or error}): free some space there, or choose "
            "a folder that you may write to"
        ) from error
    raise FetchError(
        f"could not fetch {target.name}{''.join(problems)}\n"
        "Check the connection and run this again: it goes on where it stopped."
    )


def _fill(
    part: Path, source: str, hashes: dict[str, str], size: int | None, progress: bool
) -> None:
    """Fetches the whole of `part`, in as many attempts as make sense, and checks it."""
    for attempt in range(ATTEMPTS):
        start = part.stat().st_size if hashes and part.exists() else 0
        try:
            start = _append(part, source, start, size, hide=not progress)
        except _Dropped:
            if attempt + 1 == ATTEMPTS:
                raise
            time.sleep(PAUSE * 2**attempt)
            continue
        problem = _wrong(part, hashes, size)
        if problem is None:
            return
        part.unlink()
        if start == 0:  # else the part that was there before may be to blame: once more, from 0
            break
    raise _Useless(problem)


def _append(part: Path, source: str, start: int, size: int | None, hide: bool) -> int:
    """Fetches what is missing after `start` bytes; returns where the source really began."""
    stream, start, length = _open(source, start)
    total = size if length is None else start + length
    shown = {"desc": part.stem, "initial": start, "total": total, "unit": "B", "unit_scale": True}
    with stream, open(part, "ab" if start else "wb") as file, tqdm(**shown, disable=hide) as bar:
        for chunk in _chunks(stream):
            bar.update(file.write(chunk))
        if total is not None and file.tell() < total:
            raise _Dropped(f"the connection closed after {file.tell()} of {total} bytes")
    return start


def _open(source: str, start: int) -> tuple[BinaryIO, int, int | None]:
    """Opens a source: its stream, the byte at which that begins, and how many bytes follow."""
    if not source.startswith(("http://", "https://")):
        try:
            return open(source, "rb"), 0, os.path.getsize(source)
        except OSError as error:
            raise _Useless(error.strerror) from error
    headers = {"User-Agent": "minim2f"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        response = urlopen(Request(source, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        if error.code == 416 and start:  # nothing is left after `start`: the old part is too long
            return _open(source, 0)
        kind = _Dropped if error.code in (429, 500, 502, 503, 504) else _Useless
        raise kind(f"HTTP {error.code} {error.reason}") from error
    except URLError as error:
        raise _Useless(f"no connection ({error.reason})") from error
    except (OSError, HTTPException) as error:
        raise _Dropped(f"the connection broke ({error})") from error
    length = response.headers["Content-Length"]
    begin = start if response.status == 206 else 0  # 200: the server ignored Range
    return response, begin, None if length is None else int(length)


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    try:
        while chunk := stream.read(CHUNK):
            yield chunk
    except (OSError, HTTPException) as error:
        raise _Dropped(f"the connection broke ({error})") from error


def _hash(path: Path, kind: str) -> str:
    digest = hashlib.new(kind.replace("-", "").lower(), usedforsecurity=False)
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()


def has_sha256(path: Path, sha256: str) -> bool:
    """Whether the file is there, with this content."""
    return path.is_file() and _hash(path, "SHA-256") == sha256


def _wrong(part: Path, hashes: dict[str, str], size: int | None) -> str | None:
    found = part.stat().st_size
    if size is not None and found != size:
        return f"has {found} bytes instead of {size}: damaged, or another version"
    for kind, digits in hashes.items():
        if not (found := _hash(part, kind)).startswith(digits):
            return f"has {kind} {found} instead of {digits}: damaged, or another version"
    return None
