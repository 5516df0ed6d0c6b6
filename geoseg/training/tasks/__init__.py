"""Build what the loop needs for each kind of data set, and train."""
