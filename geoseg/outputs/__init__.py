"""Write files that are either whole or absent, and say what is going on."""

from typing import TYPE_CHECKING

from geoseg.lazily import lazily

if TYPE_CHECKING:
    from geoseg.outputs.claims import claim as claim
    from geoseg.outputs.files import clearing as clearing
    from geoseg.outputs.files import read_json as read_json
    from geoseg.outputs.files import replacing as replacing
    from geoseg.outputs.files import write_json as write_json
    from geoseg.outputs.progress import Progress as Progress
    from geoseg.outputs.summary import Summary as Summary
else:
    __getattr__, __dir__, __all__ = lazily(__name__)
