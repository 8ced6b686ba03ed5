"""Write what a version directory holds: the SavedModel, golden records and warm-up requests."""
