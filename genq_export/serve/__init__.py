"""A local page that checks a build on the device that opens it."""
