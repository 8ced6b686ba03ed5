"""Which models and versions are there, which are loaded, and who may use them."""
