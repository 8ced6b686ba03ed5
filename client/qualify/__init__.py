"""Qualification: what one server with its hardware can do, and the tolerances and settings that follow from it."""
