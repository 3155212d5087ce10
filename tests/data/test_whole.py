"""A file that was cut off is noticed by how it ends; one that ends otherwise and can be read is taken."""

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from genq_export.core.errors import UserError
from genq_export.data.decode import check_ends, decode_bytes
from genq_export.data.raw import Reading
from genq_export.data.reader import read_images
from genq_export.data.whole import ends_whole

KINDS = ("PNG", "JPEG", "WEBP", "GIF", "AVIF", "TIFF", "BMP", "PPM")
MARKED = ("PNG", "JPEG", "WEBP", "GIF", "AVIF")


def content(kind: str) -> bytes:
    out = io.BytesIO()
    Image.effect_noise((64, 48), 90).convert("RGB").save(out, kind)
    return out.getvalue()


CONTENTS = {kind: content(kind) for kind in KINDS}


@pytest.mark.parametrize("kind", MARKED)
def test_a_whole_file_is_known_without_its_pixels(kind: str) -> None:
    assert ends_whole(io.BytesIO(CONTENTS[kind]), kind)


@given(st.sampled_from(KINDS), st.floats(0, 0.99))
@settings(deadline=None)
def test_what_is_accepted_can_be_decoded(kind: str, share: float) -> None:
    cut = CONTENTS[kind][: int(share * len(CONTENTS[kind]))]
    try:
        check_ends(io.BytesIO(cut), "x")
    except UserError:
        return
    decode_bytes(cut, "x")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_what_follows_the_end_does_no_harm(kind: str) -> None:
    check_ends(io.BytesIO(CONTENTS[kind] + b"what a camera appends"), "x")


def test_a_member_of_an_archive_is_looked_at_where_it_lies(tmp_path: Path) -> None:
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w") as archive:
        for name, data in (("a.jpg", CONTENTS["JPEG"]), ("b.png", CONTENTS["PNG"][:900])):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    with pytest.raises(UserError, match=r"1 of 2 images in .* cannot be read, the first: .*b\.png in .*s\.tar"):
        read_images(path, None, Reading(), decode=False)


def test_of_many_files_some_are_decoded(tmp_path: Path) -> None:
    """Damage within shows in no mark."""
    middle = len(CONTENTS["PNG"]) // 2
    damaged = CONTENTS["PNG"][: middle - 40] + bytes(80) + CONTENTS["PNG"][middle + 40 :]
    for number in range(300):
        (tmp_path / f"{number:03d}.png").write_bytes(damaged if 100 <= number < 105 else CONTENTS["PNG"])
    with pytest.raises(UserError, match=r"of 300 images in .*10\d\.png"):
        read_images(tmp_path, None, Reading(), decode=False)
