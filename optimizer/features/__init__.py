"""From a request to the numbers that models learn on.

Importing this package does not import scikit-learn; fitting or loading a `TextProjection` does.
"""

from optimizer.features.base import BOUND, Block, Featurisable, Featuriser
from optimizer.features.declared import Attributes, TaskLabel
from optimizer.features.embedding import CallerEmbedding
from optimizer.features.encoder import Encoder
from optimizer.features.projection import TextProjection
from optimizer.features.storage import FeatureFileError
from optimizer.features.surface import SurfaceFeatures

__all__ = [
    "BOUND",
    "Attributes",
    "Block",
    "CallerEmbedding",
    "Encoder",
    "FeatureFileError",
    "Featurisable",
    "Featuriser",
    "SurfaceFeatures",
    "TaskLabel",
    "TextProjection",
]
