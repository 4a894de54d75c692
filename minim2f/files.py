"""A file appears whole or not at all: written here, or fetched from elsewhere; the cache folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

ATTEMPTS = 3  # at one source, when the connection drops or something else arrives
CHUNK = 1 << 16  # bytes that are read at a time
BUSY = (429, 500, 502, 503, 504)  # HTTP: worth another attempt


class FetchError(RuntimeError):
    """A file could not be had; the message says which, from where, why, and what to do."""


def cache_folder() -> Path:
    """Where this user's machine keeps what was fetched for minim2f."""
    cache = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME")
    return Path(cache or Path.home() / ".cache") / "minim2f"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """An OSError in the block says that this file could not be written, and why."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # it is a sentence already
            raise
        why = f"cannot be written ({error.strerror})"
        raise OSError(error.errno, why, str(path)) from error


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; the file gets its own name when all went well."""
    part = path.with_name(path.name + ".part")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            with open(part, "rb+") as file:
                os.fsync(file.fileno())  # a power cut must not find the new name before the data
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


def write(path: str | os.PathLike, content: bytes | str) -> Path:
    """Writes a file, text as UTF-8: whole or not at all; returns its path."""
    with whole(Path(path)) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)
    return Path(path)


def download(
    sources: Sequence[str],
    target: str | os.PathLike,
    sha256: str | None = None,
    progress: bool = False,
) -> Path:
    """Fetches one file from the first source that has it; pooch does the work.

    Args:
        sources: http(s) addresses or local paths, tried in this order.
        target: where the file goes. It is left alone if it is there with the right SHA-256.
        sha256: the expected hash, in hexadecimal; None takes the file as it comes.
        progress: show a progress bar.

    Returns:
        The path of the file.

    Raises:
        FetchError: no source gave the right file, or it could not be written.
    """
    import pooch  # only a download needs it, and requests
    import requests

    pooch.get_logger().setLevel("WARNING")  # by default it prints a line for each file
    target = Path(target)
    name, problems = target.name, []
    for source in sources:
        shelf = pooch.Pooch(target.parent, "", {name: sha256}, {name: source}, ATTEMPTS - 1)
        try:
            return Path(shelf.fetch(name, downloader=partial(_read, progress=progress)))
        except (FetchError, ValueError) as error:
            problems.append(f"\n  {source}: {error}")
        except requests.RequestException as error:
            problems.append(f"\n  {source}: no connection, or it broke ({_first_cause(error)})")
        except OSError as error:
            raise FetchError(
                f"cannot write {target} ({error.strerror or error}): free some space there, or "
                "choose a folder that you may write to"
            ) from error
    reasons = "".join(problems)
    raise FetchError(f"could not fetch {name}{reasons}\nCheck the connection and run this again.")


def _read(source: str, copy: str, _: object, progress: bool) -> None:
    """One attempt, as pooch asks for it; pooch makes no other after a FetchError."""
    import pooch
    import requests

    if not source.startswith(("http://", "https://")):
        try:
            content = Path(source).read_bytes()
        except OSError as error:
            raise FetchError(error.strerror) from error
        Path(copy).write_bytes(content)
        return
    try:
        pooch.HTTPDownloader(progress, CHUNK)(source, copy, None)
    except requests.HTTPError as error:
        code, reason = error.response.status_code, error.response.reason
        if code in BUSY:
            raise
        raise FetchError(f"HTTP {code} {reason}") from error


def _first_cause(error: BaseException) -> BaseException:
    """What requests wrapped, twice or more: "Connection refused", "certificate verify failed"."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return error
