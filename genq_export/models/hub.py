"""What of the Hugging Face hub is at hand."""


def in_hub_cache(repository: str) -> bool:
    """Is anything of a repository in the local cache?"""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        return any(repo.repo_id == repository.rstrip("/") for repo in scan_cache_dir().repos)
    except CacheNotFound:
        return False


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
