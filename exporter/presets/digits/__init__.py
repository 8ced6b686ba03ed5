"""A real multi-label model: which of the digits 0 to 7 are in a 32x32 picture, never more than two of them."""
