"""What of the Hugging Face hub is at hand."""

from genq_export.core.paths import refuse_links_out


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


def hub_reachable() -> bool:
    """Does the Hugging Face hub answer? False where it was told to stay offline (`HF_HUB_OFFLINE`)."""
    import socket
    from urllib.parse import urlparse

    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        with socket.create_connection((urlparse(constants.ENDPOINT).hostname, 443), timeout=3):
            return True
    except OSError:
        return False
