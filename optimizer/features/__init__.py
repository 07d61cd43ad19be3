"""Features: from a request to the numbers that models learn on.

Importing this package does not import scikit-learn; fitting or loading a `TextProjection` does.
"""

from fairlead.optimizer.features.base import Block, Featuriser
from fairlead.optimizer.features.declared import Attributes, CallerEmbedding, TaskLabel
from fairlead.optimizer.features.encoder import Encoder
from fairlead.optimizer.features.projection import TextProjection
from fairlead.optimizer.features.surface import SurfaceFeatures
from fairlead.optimizer.features.terms import TermCounter
from fairlead.optimizer.persistence.array_file import FeatureFileError
from fairlead.optimizer.types.arrays import BOUND

__all__ = [
    "BOUND",
    "Attributes",
    "Block",
    "CallerEmbedding",
    "Encoder",
    "FeatureFileError",
    "Featuriser",
    "SurfaceFeatures",
    "TaskLabel",
    "TermCounter",
    "TextProjection",
]
