"""A package on the hub: exactly its files, with the token that `hf auth login` keeps and that nobody here sees."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from genq_export.core.errors import UserError, reason_of
from genq_export.core.secrets import without_secrets

_NAME = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)


class Hub(Protocol):
    """What is asked of `huggingface_hub.HfApi`."""

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> Any:
        """Make a repository."""

    def upload_folder(self, *, repo_id: str, folder_path: Path, allow_patterns: list[str], commit_message: str) -> Any:
        """Upload files of a folder."""


def check_repository(name: str) -> None:
    """Raise UserError for what is no `OWNER/NAME`."""
    if _NAME.fullmatch(name) is None:
        raise UserError(f"--push: OWNER/NAME is wanted, not {name}")


def push(place: Path, names: Iterable[str], repository: str, hub: Hub | None = None) -> None:
    """Upload these files, into a private repository where there is none yet.

    Raises:
        UserError: where the hub refuses, or cannot be reached; no token is in its words.
    """
    try:
        if hub is None:
            from huggingface_hub import HfApi

            hub = HfApi()
        hub.create_repo(repository, private=True, exist_ok=True)
        hub.upload_folder(
            repo_id=repository, folder_path=place, allow_patterns=sorted(names), commit_message="genq-export package"
        )
    except Exception as error:  # of the hub, of HTTP, of the network: without a common base
        reason = without_secrets(reason_of(error))
        raise UserError(
            f"the hub did not take {repository}: {reason}; `hf auth login` once, or put {place} there yourself"
        ) from None
