"""The models and versions on disk, those that are loaded, and the requests that use them."""
