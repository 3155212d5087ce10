"""Synthetic calibration sets: images drawn from class names, filtered by what the network itself says about them."""
