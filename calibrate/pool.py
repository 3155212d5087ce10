"""The pool of drawn images on disk: numbered, drawn in fixed chunks, taken up again wherever a run stopped.

Each PNG carries in its text what drew it and a digest of its pixels. A chunk is done when every image of it is there,
whole, and from this very draw; otherwise the chunk is drawn again, together, which gives the same bytes.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calibrate.image_file import read_facts, write_image
from calibrate.pixels import REMEDIES
from calibrate.prompts import Prompt, stable_integer
from calibrate.sources.source import ImageSource
from genq_export.core.distributed import Ranks
from genq_export.core.errors import UserError
from genq_export.core.workspace import fingerprint

MAX_ATTEMPTS = 4  # seeds tried for one image before it stays unusable
_HOPELESS = 16  # draws without one usable image, after which no more are tried
_WRITERS = 4  # compression releases the GIL: files are written while the next chunk is drawn


@dataclass(frozen=True)
class ImageRequest:
    """One image to be drawn."""

    number: int
    prompt: Prompt


@dataclass(frozen=True)
class GeneratedImage:
    """One image of the pool. rejected: why it is unusable after all its seeds, None if it is usable."""

    request: ImageRequest
    seed: int
    rejected: str | None


class Pool:
    """The folder `images/` of a calibration set."""

    def __init__(self, folder: Path, source: ImageSource, seed: int, ranks: Ranks | None = None) -> None:
        self.ranks = ranks or Ranks()
        self.folder = folder
        self.source = source
        self.seed = seed
        self.fresh = 0  # images drawn by this run rather than found
        self._useless: list[str] | None = []  # why the first images are, None from the first usable one on

    def path(self, number: int) -> Path:
        """The file of image `number`."""
        return self.folder / f"{number:06d}.png"

    def draw(self, requests: Sequence[ImageRequest]) -> Iterator[GeneratedImage]:
        """Yield every image ordered, in request; draw the chunks that are not done."""
        return self._generated(self._chunks(requests))

    def draw_share(self, requests: Sequence[ImageRequest]) -> Iterator[GeneratedImage]:
        """Like `draw`, for the chunks that fall to this process; every process must call it with the same requests."""
        yield from self._generated(
            chunk for number, chunk in enumerate(self._chunks(requests)) if self.ranks.owns(number)
        )
        self.ranks.wait()

    def _chunks(self, requests: Sequence[ImageRequest]) -> Iterator[Sequence[ImageRequest]]:
        size = self.source.batch_size
        for start in range(0, len(requests), size):
            yield requests[start : start + size]

    def keep_only(self, count: int, is_own: Callable[[Path], bool]) -> None:
        """Remove what earlier runs left: images numbered `count` and above, others of ours, and unfinished writes.

        is_own: tells what this program wrote, of which alone something is removed.
        """
        kept = {self.path(number).name for number in range(count)}
        for path in self.folder.iterdir():
            if path.name not in kept and is_own(path):
                path.unlink()

    def image_seed(self, number: int, attempt: int) -> int:
        """The seed of image `number` at its `attempt`-th try: 63 bits."""
        return stable_integer(self.seed, number, "image", attempt)

    def _draw_identity(self, chunk: Sequence[ImageRequest]) -> str:
        requests = [(request.number, request.prompt.text, request.prompt.label) for request in chunk]
        return fingerprint(self.source.identity, self.seed, requests)[:32]

    def _completed(self, chunk: Sequence[ImageRequest]) -> list[GeneratedImage] | None:
        identity = self._draw_identity(chunk)
        found = []
        for request in chunk:
            facts = read_facts(self.path(request.number))
            if facts is None or facts.get("draw") != identity:
                return None
            seed, rejected = facts.get("seed"), facts.get("rejected")
            if not isinstance(seed, int) or not isinstance(rejected, str | None):
                return None
            found.append(GeneratedImage(request, seed, rejected))
        return found

    def _generated(self, chunks: Iterator[Sequence[ImageRequest]]) -> Iterator[GeneratedImage]:
        """Images come out when their files are whole; meanwhile the next chunk is drawn, one ahead at most."""
        written: list[Future[None]] = []
        before: list[GeneratedImage] = []
        with ThreadPoolExecutor(_WRITERS) as writers:
            for chunk in chunks:
                found = self._completed(chunk)
                if found is not None:
                    self._stop_where_all_are_useless([image.rejected for image in found])
                drawn, writes = (found, []) if found is not None else self._draw_chunk(chunk, writers)
                _wait(written)
                yield from before
                before, written = drawn, writes
            _wait(written)
            yield from before

    def _stop_where_all_are_useless(self, reasons: Sequence[str | None]) -> None:
        """Raise UserError where no image of the first draws is usable."""
        if self._useless is None or None in reasons:
            self._useless = None
            return
        self._useless += filter(None, reasons)
        if len(self._useless) >= _HOPELESS:
            reason, count = Counter(self._useless).most_common(1)[0]
            raise UserError(
                f"the first {len(self._useless)} images of {self.source.name} are all useless, {count} of them because:"
                f" {reason}; {REMEDIES.get(reason, 'try another --generator')}"
            )

    def _draw_chunk(
        self, chunk: Sequence[ImageRequest], writers: ThreadPoolExecutor
    ) -> tuple[list[GeneratedImage], list[Future[None]]]:
        identity = self._draw_identity(chunk)
        pixels, drawn = self._draw_usable(chunk)
        facts = [
            {"draw": identity, "prompt": item.request.prompt.text, "seed": item.seed, "rejected": item.rejected}
            for item in drawn
        ]
        paths = [self.path(request.number) for request in chunk]
        writes = [writers.submit(write_image, *parts) for parts in zip(paths, pixels, facts, strict=True)]
        self.fresh += len(chunk)
        return drawn, writes

    def _draw_usable(self, chunk: Sequence[ImageRequest]) -> tuple[list[np.ndarray], list[GeneratedImage]]:
        pixels: dict[int, np.ndarray] = {}
        drawn: dict[int, GeneratedImage] = {}
        waiting = list(chunk)
        for attempt in range(MAX_ATTEMPTS):
            seeds = [self.image_seed(request.number, attempt) for request in waiting]
            images, reasons = self.source.draw([request.prompt for request in waiting], seeds)
            self._stop_where_all_are_useless(reasons)
            for request, image, seed, reason in zip(waiting, images, seeds, reasons, strict=True):
                pixels[request.number], drawn[request.number] = image, GeneratedImage(request, seed, reason)
            waiting = [request for request, reason in zip(waiting, reasons, strict=True) if reason is not None]
            if not waiting:
                break
        return [pixels[request.number] for request in chunk], [drawn[request.number] for request in chunk]


def _wait(writes: list[Future[None]]) -> None:
    for write in writes:
        write.result()
