"""Where an export comes from: the commit of the repository that it is made in, and the digest of the model's file."""

import hashlib
import subprocess
from pathlib import Path

# Enough for a large repository on a slow disk; the commit is not worth a longer wait.
_SECONDS = 10.0


def git_commit(directory: Path) -> str | None:
    """Return the commit of the repository that a directory is in.

    Args:
        directory: where the export is made.

    Returns:
        The commit, ending in "-dirty" if files that git tracks differ from it; None outside a repository, in one
        without commits, or without git.

    Example:
        >>> git_commit(Path("/")) is None
        True
    """
    commit = _git(directory, "rev-parse", "--verify", "HEAD")
    if not commit:
        return None
    return f"{commit}-dirty" if _git(directory, "status", "--porcelain", "--untracked-files=no") else commit


def source_digest(source: Path) -> str:
    """Return the SHA-256 of a model's file, in hexadecimal, or of a directory's names and files.

    Args:
        source: the file or directory.

    Returns:
        The digest. For a file, it is what `sha256sum` prints; for a directory, it is the digest of the lines that
        `sha256sum` prints for its files, sorted by name.

    Raises:
        OSError: when it cannot be read.
    """
    if source.is_file():
        return _digest(source)
    lines = "".join(f"{digest}  {name}\n" for name, digest in file_digests(source).items())
    return hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()


def file_digests(directory: Path) -> dict[str, str]:
    """Return the SHA-256 of each file below a directory, in hexadecimal, by its relative path."""
    files = sorted((path.relative_to(directory).as_posix(), path) for path in directory.rglob("*") if path.is_file())
    return {name: _digest(path) for name, path in files}


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _git(directory: Path, *arguments: str) -> str:
    """Return what git prints; nothing if it fails or is not installed."""
    # Reading the status must not lock the index against the user's own git.
    command = ["git", "--no-optional-locks", "-C", str(directory), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
