"""The former name of `genq_export.core.distributed.Ranks` in training; goes when its callers import that."""

from genq_export.core.distributed import Ranks as TrainingRanks

__all__ = ["TrainingRanks"]
