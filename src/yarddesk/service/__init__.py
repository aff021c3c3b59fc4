"""The composition root: settings in, a running yard out. The only room that names concrete classes."""
