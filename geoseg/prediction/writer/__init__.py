"""Write the maps of scenes, whole blocks at a time."""
