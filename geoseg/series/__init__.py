"""Find dated images and assemble them into stacks."""

from typing import TYPE_CHECKING

from geoseg.lazily import lazily

if TYPE_CHECKING:
    from geoseg.series.find import find_stacks as find_stacks
    from geoseg.series.settings import Series as Series
else:
    __getattr__, __dir__, __all__ = lazily(__name__)
