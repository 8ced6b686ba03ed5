"""Qualification: what one server and its hardware can do, and the tolerances and settings that follow."""
