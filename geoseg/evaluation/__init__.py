"""Compare maps with labels, and report how well they agree."""

from typing import TYPE_CHECKING

from geoseg.lazily import lazily

if TYPE_CHECKING:
    from geoseg.evaluation.accuracy import BoundaryF1 as BoundaryF1
    from geoseg.evaluation.accuracy import Scores as Scores
    from geoseg.evaluation.accuracy import confusion as confusion
    from geoseg.evaluation.evaluate import Evaluation as Evaluation
else:
    __getattr__, __dir__, __all__ = lazily(__name__)
