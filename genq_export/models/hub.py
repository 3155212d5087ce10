"""What of the Hugging Face hub is at hand."""

from pathlib import Path

from genq_export.core.paths import refuse_links_out

_PATIENCE = 5.0  # seconds for each of connecting and answering


def in_hub_cache(repository: str) -> bool:
    """Is anything of a repository in the local cache? Raises UserError where a link in there leads elsewhere."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        found = [repo.repo_path for repo in scan_cache_dir().repos if repo.repo_id == repository.rstrip("/")]
    except CacheNotFound:
        return False
    for folder in found:
        refuse_links_out(folder, folder)
    return bool(found)


def cached_repositories(owner: str) -> int:
    """How many repositories of models of one owner are in the local cache."""
    from huggingface_hub import constants

    return len([*Path(constants.HF_HUB_CACHE).glob(f"models--{owner}--*")])


def hub_reachable() -> bool:
    """Does the Hugging Face hub answer? False where it was told to stay offline (`HF_HUB_OFFLINE`).

    One that takes the connection and says nothing does not: downloads would wait for it, again and again.
    """
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE)  # any status is an answer
    except Exception:  # of the HTTP library's, the system's, or of a proxy that is none
        return False
    return True
