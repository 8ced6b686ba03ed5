"""Random small architectures, exported, served and held against `model.predict`."""
