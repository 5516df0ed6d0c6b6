"""Show scenes as those of another archive look: another season, another sensor."""
