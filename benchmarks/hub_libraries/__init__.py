"""Packages in the libraries that load them."""
