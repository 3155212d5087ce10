"""The words of the zoo's world: what its classes and its rendering styles are called."""

CLASS_NAMES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip

# The classifiers know only the original; the text-to-image pipeline knows all six.
STYLES = ("original", "negative", "coloured", "sketch", "textured", "faded")

ZOO_MODELS = ("fashion_resnet", "fashion_vit", "fashion_mobilenet")  # classifiers of one garment
ZOO_SCENE_MODELS = ("fashion_detector", "fashion_segmenter")  # of scenes of several
SCENE_SIDE = 80  # pixels
ZOO_PIPELINE = "fashion_sd"
