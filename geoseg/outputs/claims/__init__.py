"""Know what an output was made of, and with which settings: refuse to mix two."""

from geoseg.outputs.claims.settings import (
    check_apart,
    claim,
    claim_note,
    differences,
    follows,
    is_claimed,
    is_made,
    note_made,
    noted_inputs,
    nothing_to_do,
    read_claim,
    read_made,
    rewrite_claim,
)

__all__ = [
    "check_apart",
    "claim",
    "claim_note",
    "differences",
    "follows",
    "is_claimed",
    "is_made",
    "note_made",
    "noted_inputs",
    "nothing_to_do",
    "read_claim",
    "read_made",
    "rewrite_claim",
]
