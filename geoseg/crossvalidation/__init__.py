"""Judge networks on samples and tiles that were held out of their training."""

from typing import TYPE_CHECKING

from geoseg.lazily import lazily

if TYPE_CHECKING:
    from geoseg.crossvalidation.config import CrossvalidateConfig as CrossvalidateConfig
    from geoseg.crossvalidation.draw import Folding as Folding
    from geoseg.crossvalidation.run import Crossvalidation as Crossvalidation
    from geoseg.crossvalidation.run import crossvalidate as crossvalidate
else:
    __getattr__, __dir__, __all__ = lazily(__name__)
