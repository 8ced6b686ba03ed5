"""Is a staged version right? Asked of its final bytes, loaded as a server loads them."""
